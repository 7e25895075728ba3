"""Learned labels as a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.pictures.canvas import literal, new_figure, save

MAX_VALUES = 10  # write the numbers into maps of up to 10 x 10 cells
MAX_TICKS = 40


def label_heatmap(
    labels: np.ndarray,
    class_names: Sequence[str],
    path: Path | str,
    *,
    row_names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Write labels as colours, red above and blue below the white of 0.

    The scale is symmetric and reaches the largest magnitude. Values are written into the cells of
    maps up to 10 x 10.

    Args:
      labels: (n, K) float, the centred labels as KRR consumes them (one-hot minus 1/K at first).
      class_names: K names.
      path: the PNG to write.
      row_names: n names, such as the class each support image started from; numbers when None.
      title: a line above the map.

    Raises:
      ValueError: the shapes do not fit, or NaN.
      OSError: the file cannot be written.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if labels.ndim != 2 or labels.shape[1] != len(class_names) or not labels.size:
        raise ValueError(f"labels of shape {labels.shape} for {len(class_names)} classes")
    if not np.isfinite(labels).all():
        raise ValueError("the labels hold NaN or infinity")
    n, n_classes = labels.shape
    rows = [str(i) for i in range(n)] if row_names is None else list(row_names)
    if len(rows) != n:
        raise ValueError(f"{len(rows)} row names for {n} labels")

    small = max(n, n_classes) <= MAX_VALUES
    cell_w = 0.55 if small else min(0.3, 9 / n_classes)
    cell_h = 0.38 if small else min(0.16, 9 / n)
    width, height = max(2.5, cell_w * n_classes), max(1.2, cell_h * n)
    figure = new_figure(width + 2.6, height + 1.6)
    total = figure.get_size_inches()
    axes = figure.add_axes((1.3 / total[0], 1.0 / total[1], width / total[0], height / total[1]))
    reach = float(np.abs(labels).max()) or 1.0
    mesh = axes.imshow(
        labels, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest"
    )
    _ticks(axes, "x", list(class_names))
    _ticks(axes, "y", rows)
    axes.set_xlabel("class", fontsize=9)
    axes.set_ylabel("support image", fontsize=9)
    if title:
        axes.set_title(literal(title), fontsize=10, weight="bold", loc="left")
    if small:
        digits = min(5, max(0, 2 - math.floor(math.log10(reach))))
        for i, j in np.ndindex(n, n_classes):
            dark = abs(labels[i, j]) > 0.6 * reach
            axes.text(
                j,
                i,
                _number(labels[i, j], digits),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if dark else "#222222",
            )
    bar_axes = figure.add_axes(
        ((1.45 + width) / total[0], 1.0 / total[1], 0.16 / total[0], height / total[1])
    )
    bar = figure.colorbar(mesh, cax=bar_axes)
    bar.set_label("label value", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return save(figure, path)


def _number(value: float, digits: int) -> str:
    return f"{round(float(value), digits) + 0.0:.{digits}f}"  # adding 0.0 turns -0.0 into 0.0


def _ticks(axes, which: str, names: list[str]) -> None:
    step = -(-len(names) // MAX_TICKS)
    places = range(0, len(names), step)
    getattr(axes, f"set_{which}ticks")(
        list(places),
        [literal(names[i]) for i in places],
        fontsize=7,
        **({"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if which == "x" else {}),
    )
