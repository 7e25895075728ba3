"""Pictures of finished KIP runs: what was learned, from what, and how the accuracy rose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.methods.kip.run import support_path
from paper_repro.core.pictures import before_after, curves, image_grid, label_heatmap
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.context import Context, context
from paper_repro.core.runs.runner import run_directory
from paper_repro.core.store import checkpoint
from paper_repro.core.store.json_lines import JsonLines
from paper_repro.core.store.rows import finished


def draw(
    script: str,
    cells: Sequence[Cell],
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    data_dir: Path | None,
    seed: int,
) -> None:
    """Draw the finished runs of a seed into `out/pictures`; drawn ones are left alone.

    Writes `<run>-images.png` (natural start above learned image, through the inverse transform),
    `<run>-labels.png` where labels were learned, and `<script>-curves.png` for all runs of the
    script together; a picture of them stays where the files of some are elsewhere.
    """
    for cell in cells:
        row = finished(rows, cell.config_hash, seed)
        directory = run_directory(out, cell, seed)
        if cell.procedure != "kip" or row is None or not (directory / "metrics.jsonl").exists():
            continue
        if not (out / "pictures" / f"{_file_name(cell)}-images.png").exists():
            start = checkpoint.load(support_path(directory, 0)).tensors["images"]
            learned = checkpoint.load(support_path(directory, row["step"])).tensors
            shared = context(cell, data_dir)
            prefix = f"{_file_name(cell)}-"
            draw_support(learned, start, cell, shared, row["step"], out / "pictures", prefix)
    path = out / "pictures" / f"{script}-curves.png"
    series, is_whole = _series(script, rows, out, seed)
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
        and row["config"].get("procedure") == "kip"
    ]
    several = len({row["dataset"] for row in own}) > 1
    series, is_whole = {}, True
    for row in own:
        path = run_directory(out, row, seed) / "metrics.jsonl"
        if not path.exists():
            is_whole = False
            continue
        words = [row["dataset"]] if several else []
        words += [f"{row['architecture']} {row['method']}, {row['support_size']} images"]
        name = " ".join(words)
        if name in series:
            name += f", {row['config_hash'][:6]}"
        series[name] = _accuracies(path)
    return series, is_whole


def draw_support(
    tensors: Mapping[str, np.ndarray],
    natural: np.ndarray | None,
    cell: Cell,
    shared: Context,
    step: int | None,
    directory: Path,
    prefix: str = "",
) -> None:
    """Write `images.png` and, where labels are learned, `labels.png` of a support set.

    Args:
      tensors: `images` and `labels`; of up to ten classes the first of each class is drawn.
      natural: the images the run started from, drawn above the learned ones; None draws the
        images alone.
      cell: what was learned.
      shared: transform and class names.
      step: of KIP, for the title.
      directory: where to write.
      prefix: of the file names.
    """
    names = shared.dataset.class_names
    # Supports are ordered by class, so the classes need no labels.
    classes = np.repeat(np.arange(shared.dataset.n_classes), cell.images_per_class)
    shown = _first_of_each(classes, 10)
    title = f"{shared.dataset.title}, {cell.architecture} {cell.method}"
    title += "" if step is None else f", step {step}"
    captions = [names[c] for c in classes[shown]]
    learned = shared.transform.preview(tensors["images"][shown])
    path = directory / f"{prefix}images.png"
    if natural is None:
        image_grid(learned, path, captions=captions, title=title)
    else:
        start = shared.transform.preview(natural[shown])
        before_after(start, learned, path, captions=captions, title=title)
    if cell.learned_labels:
        label_heatmap(
            tensors["labels"][shown],
            names,
            directory / f"{prefix}labels.png",
            row_names=captions,
            title=f"Learned labels: {title}",
        )


def _first_of_each(classes: np.ndarray, n: int) -> np.ndarray:
    """Rows of the first image of each of the first `n` classes."""
    return np.array([np.flatnonzero(classes == c)[0] for c in np.unique(classes)[:n]])


def _accuracies(path: Path) -> list[tuple[float, float]]:
    entries = JsonLines(path).entries
    return [(entry["step"], 100 * entry["test_accuracy"]) for entry in entries]


def _file_name(cell: Cell) -> str:
    return f"{cell.set_name}-{cell.config_hash[:6]}"
