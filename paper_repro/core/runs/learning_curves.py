"""How the accuracy of stored sets rose with steps and with minutes, beside the published ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.pictures.curves import LearningCurve, learning_curves
from paper_repro.core.runs.transfer_cells import is_by_convnet_kernel, method_of_set
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.tables import published
from paper_repro.core.tables.published.records import PublishedFigure

_COLUMN = {True: "KIP ConvNet aug", False: "KIP ConvNet no aug"}
"""Of Table 1, by whether the targets were augmented."""


def draw_learning_curves(sets: Iterable[LearnedSet], path: Path) -> None:
    """Draw every set whose accuracy was measured at more than one step; nothing, if none was.

    Sets that were exported before their steps kept the time have their whole time shared out
    evenly over their steps.
    """
    found = [curve for learned in sets if len((curve := curve_of(learned)).points) > 1]
    if found:
        learning_curves(found, path)


def curve_of(learned: LearnedSet) -> LearningCurve:
    """The curve of a set, in minutes of its machine, which its name says if that had a card."""
    record = learned.record
    entries = [*record["series"], record] if record["step"] else []
    points = []
    for entry in entries:
        if "test_accuracy" not in entry["metrics"]:
            continue
        even = record["seconds"] * entry["step"] / record["step"]
        seconds = even if entry is record else entry["metrics"].get("seconds", even)
        points.append((entry["step"], seconds / 60, 100 * entry["metrics"]["test_accuracy"]))
    panel = f"{record['title']}, {record['images_per_class'] * record['n_classes']} images"
    figure = published_end(learned)
    end = None if figure is None else figure.accuracy_percent
    return LearningCurve(panel, _in_words(record), points, end)


def _in_words(record: Mapping[str, Any]) -> str:
    """As in `ZCA, learned labels, augmented`."""
    words = ["ZCA" if record["zca"] else "standard"]
    words.append("learned labels" if record["learned_labels"] else "fixed labels")
    if record["augmentation"]:
        words.append("augmented")
    if gpu := record["hardware"].get("gpu"):
        words.append(f"on {gpu}")
    return ", ".join(words)


def published_end(learned: LearnedSet) -> PublishedFigure | None:
    """What the paper reaches with such a set: of Table A3 for CIFAR-10, of Table 1 for others."""
    record = learned.record
    if not is_by_convnet_kernel(learned) or method_of_set(learned).title != "KIP":
        return None
    fields = ("images_per_class", "zca", "learned_labels", "augmentation")
    if record["dataset"] == "cifar10":
        for row in published.ablation_a3():
            if all(getattr(row, field) == record[field] for field in fields):
                return row.kip
        return None
    if not record["learned_labels"] or record["zca"] != (record["dataset"] in ("svhn", "cifar100")):
        return None
    column = _COLUMN[record["augmentation"]]
    for cell in published.table1():
        place = cell.dataset, cell.images_per_class, cell.method
        if place == (record["title"], record["images_per_class"], column):
            return cell.figure
    return None
