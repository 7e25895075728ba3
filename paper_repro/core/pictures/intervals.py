"""Means with intervals along an axis, and a scatter of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_repro.core.pictures.canvas import literal, new_figure, save
from paper_repro.core.pictures.curves import COLORS, STYLES
from paper_repro.core.tables.statistics import Estimate

_MOST_TICKS = 10


def with_intervals(
    series: Mapping[str, Mapping[float, Estimate]],
    path: Path,
    *,
    xlabel: str,
    title: str,
    ylabel: str = "test accuracy (%)",
    log_base: int | None = None,
) -> Path:
    """Write lines of means with their 95 % intervals.

    Args:
      series: name -> position -> estimate.
      path: the PNG to write.
      xlabel: what the positions are.
      ylabel: what is estimated.
      title: above the axes.
      log_base: base of a logarithmic axis; None makes it linear near 0 and logarithmic beyond.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.add_axes((0.1, 0.13, 0.86, 0.77))
    for index, (name, line) in enumerate(series.items()):
        positions = sorted(line)
        axes.errorbar(
            positions,
            [line[p].mean for p in positions],
            yerr=[line[p].half_width or 0.0 for p in positions],
            label=literal(name),
            color=COLORS[index % len(COLORS)],
            linestyle=STYLES[index // len(COLORS) % len(STYLES)],
            linewidth=1.6,
            marker="o",
            markersize=3.5,
            capsize=2.5,
        )
    if log_base is None:
        axes.set_xscale("symlog", linthresh=1, linscale=0.35)
        axes.set_xlim(left=0)
    else:
        axes.set_xscale("log", base=log_base)
    positions = sorted({position for line in series.values() for position in line})
    if len(positions) <= _MOST_TICKS:
        axes.set_xticks(positions)
        axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    _finish(axes, xlabel, ylabel, title)
    return save(figure, path, colors=128)


def pairs(
    points: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    title: str,
) -> Path:
    """Write a scatter of accuracies in percent with the line on which both are equal."""
    figure = new_figure(5.2, 4.6)
    axes = figure.add_axes((0.12, 0.12, 0.84, 0.78))
    both = [value for pair in points.values() for point in pair for value in point]
    low, high = min(both) - 2, max(both) + 2
    axes.plot([low, high], [low, high], color="#999999", linewidth=1.0, linestyle="--")
    for index, (name, found) in enumerate(points.items()):
        axes.scatter(*zip(*found, strict=True), s=22, label=literal(name), color=COLORS[index])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    _finish(axes, xlabel, ylabel, title)
    return save(figure, path, colors=128)


def _finish(axes, xlabel: str, ylabel: str, title: str) -> None:
    axes.set_xlabel(literal(xlabel), fontsize=9)
    axes.set_ylabel(literal(ylabel), fontsize=9)
    axes.set_title(literal(title), fontsize=10, weight="bold", loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=8
    )
