"""Curves over training steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paper_repro.core.pictures.canvas import literal, new_figure, save

# Okabe and Ito's colours, apart to every kind of colour vision, with a gray for their yellow, which
# white swallows; then the line styles change.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
STYLES = ("-", "--", ":", "-.")
MARKERS = 25  # points of up to this many are marked


def curves(
    series: Mapping[str, Iterable[tuple[float, float]]],
    path: Path | str,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = True,
) -> Path:
    """Write lines of value against step, the legend beside them.

    Args:
      series: name -> (step, value) pairs, drawn in order of the step. Pairs that are not finite
        are left out, so that a line ends where a run diverged.
      path: the PNG to write.
      xlabel: what the steps are, with their unit.
      ylabel: what the values are, with their unit.
      title: a line above the axes.
      log_x: logarithmic steps, linear between 0 and 1 so that step 0 shows.

    Raises:
      ValueError: no pair is finite.
      OSError: the file cannot be written.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.add_axes((0.1, 0.13, 0.86, 0.77))
    lines = {name: _finite(pairs) for name, pairs in series.items()}
    longest = max((len(points) for points in lines.values()), default=0)
    if not longest:
        raise ValueError("no finite value to draw")
    for index, (name, points) in enumerate(lines.items()):
        axes.plot(
            [s for s, _ in points],
            [v for _, v in points],
            label=_legend(name),
            color=COLORS[index % len(COLORS)],
            linestyle=STYLES[index // len(COLORS) % len(STYLES)],
            linewidth=1.6,
            marker="o" if longest <= MARKERS else None,
            markersize=3.5,
            clip_on=False,  # a marker at step 0 shows whole
        )
    _over_steps(axes, log_x)
    axes.set_xlabel(literal(xlabel), fontsize=9)
    axes.set_ylabel(literal(ylabel), fontsize=9)
    if title:
        axes.set_title(literal(title), fontsize=10, weight="bold", loc="left")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=8
    )
    return save(figure, path, colors=128)


class LearningCurve(NamedTuple):
    """How an accuracy rose.

    Attributes:
      panel: the data and the number of images; curves of one panel are drawn into one row.
      name: what was learned, in words.
      points: (step, minutes, accuracy in percent).
      published: the published accuracy in percent at convergence, or None.
    """

    panel: str
    name: str
    points: Sequence[tuple[int, float, float]]
    published: float | None


def learning_curves(found: Sequence[LearningCurve], path: Path) -> Path:
    """Write accuracies against steps and, beside it, against minutes.

    A bar beyond the right edge is a published end: how many steps it took is not known.

    Every kind of data has a row of its own, with its legend.
    """
    panels: dict[str, list[LearningCurve]] = {}
    for curve in found:
        panels.setdefault(curve.panel, []).append(curve)
    figure = new_figure(10.0, 3.3 * len(panels))
    grid = figure.subplots(len(panels), 2, sharey="row", sharex="col", squeeze=False)
    figure.subplots_adjust(wspace=0.06, hspace=0.22)
    for axis in range(2):
        for axes, lines in zip(grid[:, axis], panels.values(), strict=True):
            for index, curve in enumerate(lines):
                color = COLORS[index % len(COLORS)]
                style = STYLES[index // len(COLORS) % len(STYLES)]
                axes.plot(
                    [point[axis] for point in curve.points],
                    [point[2] for point in curve.points],
                    **{"label": literal(curve.name), "color": color, "linestyle": style},
                    **{"linewidth": 1.5, "marker": "o", "markersize": 3, "clip_on": False},
                )
                if curve.published is not None:
                    bar = {"color": color, "linewidth": 2.5, "clip_on": False}
                    ends = [curve.published, curve.published]
                    axes.plot([1.0, 1.03], ends, transform=axes.get_yaxis_transform(), **bar)
            _over_steps(axes, log_x=True)
            axes.set_xlim(right=1.2 * max(point[axis] for curve in found for point in curve.points))
    for (left, right), panel in zip(grid, panels, strict=True):
        left.set_title(literal(panel), fontsize=10, weight="bold", loc="left")
        left.set_ylabel("test accuracy (%)", fontsize=9)
        right.legend(
            **{"loc": "upper left", "bbox_to_anchor": (1.07, 1.0), "borderaxespad": 0},
            **{"frameon": False, "fontsize": 7.5, "handlelength": 3.5},
        )
    beyond = "bars beyond the edge: the paper's, at convergence"
    grid[0, 1].set_title(beyond, fontsize=8, loc="right")
    grid[-1, 0].set_xlabel("KIP step", fontsize=9)
    grid[-1, 1].set_xlabel("minutes", fontsize=9)
    return save(figure, path, colors=128)


def _over_steps(axes, log_x: bool) -> None:
    if log_x:
        axes.set_xscale("symlog", linthresh=1, linscale=0.35)
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _finite(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted((s, v) for s, v in pairs if math.isfinite(s) and math.isfinite(v))


def _legend(name: str) -> str:
    """A leading underscore would hide a line from the legend."""
    return ("\u200b" if name.startswith("_") else "") + literal(name)
