"""Means with intervals along an axis, and a scatter of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paper_repro.core.pictures.canvas import literal, new_figure, save
from paper_repro.core.pictures.curves import COLORS, STYLES
from paper_repro.core.tables.statistics import Estimate

_MOST_TICKS = 10


class Range(NamedTuple):
    """A value with an interval that need not be symmetric."""

    value: float
    low: float
    high: float


_TICK_WIDTH = 0.08
"""Of a label on the axis, as a share of its length."""


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
        axes.set_xticks(_apart(axes, positions))
        axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    _finish(axes, xlabel, ylabel, title)
    return save(figure, path, colors=128)


def _apart(axes, positions: Sequence[float]) -> list[float]:
    """Those of `positions` whose labels do not touch, the last one first."""
    to_axes = axes.transData + axes.transAxes.inverted()
    kept, right = [], math.inf
    for position in reversed(positions):
        x = to_axes.transform((position, axes.get_ylim()[0]))[0]
        if right - x >= _TICK_WIDTH:
            kept.append(position)
            right = x
    return kept


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


def panels(
    series: Mapping[str, Mapping[str, Mapping[float, Range]]],
    path: Path,
    *,
    bands: Mapping[str, Range],
    band_name: str,
    xlabel: str,
    ylabel: str,
) -> Path:
    """Write panels, two in a row, of lines with intervals over steps; axes are logarithmic.

    Args:
      series: panel -> line -> step -> value with its interval. Lines are set apart sideways, so
        that their intervals do not cover one another.
      path: the PNG to write.
      bands: panel -> a value that has no step, drawn across.
      band_name: what the bands are.
      xlabel: what the steps are.
      ylabel: what the values are; panels share the axis.
    """
    n_rows = math.ceil(len(series) / 2)
    figure = new_figure(9.0, 3.4 * n_rows)
    grid = figure.subplots(n_rows, 2, sharey=True, squeeze=False).ravel()
    figure.subplots_adjust(hspace=0.75, wspace=0.08)
    for axes, (panel, lines) in zip(grid, series.items(), strict=False):
        band = bands[panel]
        axes.axhspan(band.low, band.high, color="#bbbbbb", alpha=0.35, linewidth=0)
        axes.axhline(band.value, color="#777777", linewidth=1.2, label=band_name)
        for index, (name, line) in enumerate(lines.items()):
            steps = sorted(line)
            apart = 1.05 ** (index - (len(lines) - 1) / 2)
            values = [line[step].value for step in steps]
            below = [line[step].value - line[step].low for step in steps]
            above = [line[step].high - line[step].value for step in steps]
            axes.errorbar(
                [step * apart for step in steps],
                values,
                yerr=(below, above),
                label=literal(name),
                color=COLORS[index % len(COLORS)],
                **{"linewidth": 1.4, "elinewidth": 0.7, "marker": "o", "markersize": 3},
            )
        axes.set_xscale("symlog", linthresh=1, linscale=0.35)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_yticks([1, 2, 5, 10, 20, 50, 100])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        _finish(axes, xlabel, ylabel if axes in grid[::2] else "", panel)
        place = {"loc": "upper left", "bbox_to_anchor": (0, -0.2), "borderaxespad": 0}
        axes.legend(**place, ncol=2, frameon=False, fontsize=7)
    for axes in grid[len(series) :]:
        axes.set_visible(False)
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
