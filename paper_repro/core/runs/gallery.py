"""Pictures of finished KIP runs: what was learned, from what, and how the accuracy rose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.data import Dataset
from paper_repro.core.methods import Method, is_known
from paper_repro.core.pictures import before_after, curves, image_grid, label_heatmap
from paper_repro.core.preprocess import Transform
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.options import NetworkOptions
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store import checkpoint
from paper_repro.core.store.rows import finished, run_directory


def draw(
    script: str,
    cells: Sequence[Cell],
    rows: Sequence[Mapping[str, Any]],
    options: NetworkOptions,
    seed: int,
) -> None:
    """Draw the finished runs of a seed into `out/pictures`; drawn ones are left alone.

    Writes `<run>-images.png` (natural start above learned image, through the inverse transform),
    `<run>-labels.png` where labels were learned, and `<script>-curves.png` for all runs of the
    script together; a picture of them stays where the files of some are elsewhere.

    Args:
      script: the script's name.
      cells: what was run.
      rows: finished rows.
      options: how they were run.
      seed: the seed that is drawn.
    """
    pictures = options.out / "pictures"
    for cell in cells:
        row = finished(rows, cell.config_hash, seed)
        if row is None or cell.learning_cell != cell:
            continue
        method, directory = cell.method_object, _directory(row, options.out)
        if not method.curve(directory) or (pictures / f"{_file_name(cell)}-images.png").exists():
            continue
        final = method.final(directory, row["step"])
        earlier = method.series(directory, row["step"])
        start = checkpoint.load(earlier[0].path if earlier else final).tensors["images"]
        data = prepared_data(cell, options.data_dir, options.execution)
        learned = LearnedSet.of(**checkpoint.load(final).tensors, record={"step": row["step"]})
        draw_support(
            learned, start, cell, data.transform, data.dataset, pictures / _file_name(cell)
        )
    path = pictures / f"{script}-curves.png"
    series, is_whole = _series(script, rows, options.out, seed)
    if series and (is_whole or not path.exists()):
        curves(
            series,
            path,
            xlabel="KIP step",
            ylabel="test accuracy (%)",
            title="Test accuracy at the official steps (never used to choose one)",
        )


def _series(
    script: str, rows: Sequence[Mapping[str, Any]], out: Path, seed: int
) -> tuple[dict[str, list[tuple[float, float]]], bool]:
    """Accuracies at the official steps of the script's finished runs, and whether all are there."""
    own = [
        row
        for row in rows
        if (row["table"], row["status"], row["seed"]) == (script, "done", seed)
        and row["algorithm"] == "KRR"
        and is_known(row["config"])
    ]
    curves_of = [(r, _method(r).curve(_directory(r, out))) for r in own]
    curves_of = [(row, curve) for row, curve in curves_of if curve is not None]
    several = len({row["dataset"] for row, _ in curves_of}) > 1
    series: dict[str, list[tuple[float, float]]] = {}
    for row, curve in curves_of:
        if not curve:
            continue
        words = [row["dataset"]] if several else []
        words += [f"{row['architecture']} {row['method']}, {row['support_size']} images"]
        name = " ".join(words)
        if name in series:
            name += f", {row['config_hash'][:6]}"
        series[name] = curve
    return series, all(curve for _, curve in curves_of)


def _method(row: Mapping[str, Any]) -> Method:
    return cell_of(row["config"]).method_object


def _directory(row: Mapping[str, Any], out: Path) -> Path:
    return run_directory(out, row["config_hash"], row["seed"])


def draw_support(
    learned: LearnedSet,
    natural: np.ndarray | None,
    cell: Cell,
    transform: Transform,
    dataset: Dataset,
    path: Path,
) -> None:
    """Write the pictures of a support set: images, and labels where they are learned.

    Args:
      learned: the set; of up to ten classes the first of each class is drawn, and its record's
        step stands in the title.
      natural: the images the run started from, drawn above the learned ones; None draws the
        images alone.
      cell: what was learned.
      transform: its preprocessing, which is undone.
      dataset: its title and class names.
      path: start of the files' names: `<path>-images.png` and `<path>-labels.png`, or
        `images.png` and `labels.png` in it where it is a directory.
    """
    prefix = f"{path}/" if path.is_dir() else f"{path}-"
    names = dataset.class_names
    # Supports are ordered by class, so the classes need no labels.
    classes = np.repeat(np.arange(dataset.n_classes), cell.images_per_class)
    shown = _first_of_each(classes, 10)
    title, step = f"{dataset.title}, {cell.architecture} {cell.method}", learned.record["step"]
    title += "" if step is None else f", step {step}"
    captions = [names[c] for c in classes[shown]]
    images = transform.preview(learned.images[shown])
    place = Path(f"{prefix}images.png")
    if natural is None:
        image_grid(images, place, captions=captions, title=title)
    else:
        start = transform.preview(natural[shown])
        before_after(start, images, place, captions=captions, title=title)
    if cell.learned_labels:
        label_heatmap(
            learned.labels[shown],
            names,
            Path(f"{prefix}labels.png"),
            row_names=captions,
            title=f"Learned labels: {title}",
        )


def _first_of_each(classes: np.ndarray, n: int) -> np.ndarray:
    """Rows of the first image of each of the first `n` classes."""
    return np.array([np.flatnonzero(classes == c)[0] for c in np.unique(classes)[:n]])


def _file_name(cell: Cell) -> str:
    return f"{cell.set_name}-{cell.config_hash[:6]}"
