"""Pictures of finished KIP runs: what was learned, from what, and how the accuracy rose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core import checkpoint
from paper_repro.core.experiment.cell import Cell
from paper_repro.core.experiment.context import Context, context
from paper_repro.core.experiment.runner import results_path, run_directory
from paper_repro.core.kip.run import support_path
from paper_repro.core.pictures import before_after, curves, label_heatmap
from paper_repro.core.results import finished, read_rows


def draw(script: str, cells: Sequence[Cell], out: Path, data_dir: Path | None) -> None:
    """Draw the runs of the first seed into `out/pictures`; drawn ones are left as they are.

    Writes `<run>-images.png` (natural start above learned image, through the inverse transform),
    `<run>-labels.png` where labels were learned, and `<script>-curves.png` for all together.
    """
    rows = read_rows(results_path(out, script))
    series = {}
    for cell in cells:
        row = finished(rows, cell.config_hash, 0)
        directory = run_directory(out, cell, 0)
        if cell.procedure != "kip" or row is None or not (directory / "metrics.jsonl").exists():
            continue
        name = f"{cell.architecture} {cell.method}, {row['support_size']} images"
        series[name] = _accuracies(directory / "metrics.jsonl")
        stem = out / "pictures" / _file_name(cell)
        if not stem.with_name(f"{stem.name}-images.png").exists():
            _draw_run(cell, context(cell, data_dir), row, directory, stem)
    if series:
        curves(
            series,
            out / "pictures" / f"{script}-curves.png",
            xlabel="KIP step",
            ylabel="test accuracy (%)",
            title="Test accuracy at the official steps (never used to choose one)",
        )


def _draw_run(cell: Cell, shared: Context, row: dict, directory: Path, stem: Path) -> None:
    start = checkpoint.load(support_path(directory, 0)).tensors
    learned = checkpoint.load(support_path(directory, row["step"])).tensors
    names = shared.dataset.class_names
    classes = start["labels"].argmax(1)
    shown = _first_of_each(classes, 10)
    title = f"{shared.dataset.title}, {cell.architecture} {cell.method}, step {row['step']}"
    before_after(
        shared.transform.preview(start["images"][shown]),
        shared.transform.preview(learned["images"][shown]),
        stem.with_name(f"{stem.name}-images.png"),
        captions=[names[c] for c in classes[shown]],
        title=title,
    )
    if cell.learned_labels:
        label_heatmap(
            learned["labels"][shown],
            names,
            stem.with_name(f"{stem.name}-labels.png"),
            row_names=[names[c] for c in classes[shown]],
            title=f"Learned labels: {title}",
        )


def _first_of_each(classes: np.ndarray, n: int) -> np.ndarray:
    """Rows of the first image of each of the first `n` classes."""
    return np.array([np.flatnonzero(classes == c)[0] for c in np.unique(classes)[:n]])


def _accuracies(path: Path) -> list[tuple[float, float]]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [(entry["step"], 100 * entry["test_accuracy"]) for entry in entries]


def _file_name(cell: Cell) -> str:
    parts = [cell.dataset, cell.architecture, f"ipc{cell.images_per_class}"]
    parts += ["zca" if cell.zca else "standard", "learned" if cell.learned_labels else "fixed"]
    parts += ["aug" if cell.augmentation else "noaug", cell.config_hash[:6]]
    return "-".join(parts).lower()
