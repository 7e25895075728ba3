"""The arrays of a released set, checked: from a `checkpoints/` directory or a release folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.data.npz import read_npz
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.sets.catalogue import RECORD, read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet, slot_classes
from release.format import layout
from release.format.npz_guard import require_safe_npz
from release.format.records import require_releasable

LABEL_TOLERANCE = 1e-7
"""How far a fixed float32 label may be from one-hot minus 1/K: less than one rounding."""


def from_checkpoints(directory: Path) -> list[LearnedSet]:
    """All sets of a `checkpoints/` directory, by name.

    Raises:
      UserError: no such directory, no set in it, a name twice, a link that leaves it, or a set
        with a damaged file, a wrong record, or arrays that do not fit the record.
    """
    sets = read_catalogue(directory)
    if not sets:
        raise UserError(f"{directory} lists no sets: export some first")
    refuse_doubled([learned.name for learned in sets], str(directory))
    return sorted((_checked(learned, directory) for learned in sets), key=lambda s: s.name)


def from_release(folder: Path, record: Mapping[str, Any]) -> LearnedSet:
    """A set of a release folder, its arrays those of the npz.

    Args:
      folder: the release.
      record: the set's record, checked.

    Raises:
      UserError: not such a file, or arrays that do not fit the record.
    """
    path = folder / layout.npz(record["name"])
    require_safe_npz(path)
    arrays = read_npz(path, ("images", "labels"))
    images, labels = arrays["images"], arrays["labels"]
    n_classes = record["n_classes"]
    # A set that was given with its own order has that order in its fixed labels or its rows.
    classes = slot_classes(record["images_per_class"], n_classes)
    if not record["learned_labels"] and labels.shape == (len(classes), n_classes):
        classes = labels.argmax(1)
    return fitting(images, labels, classes, record, str(path))


def refuse_doubled(names: list[str], where: str) -> None:
    """Raise UserError where a name stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where} has the set {name} more than once")


def fitting(
    images: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    record: Mapping[str, Any],
    where: str,
) -> LearnedSet:
    """A set whose arrays fit its record.

    Args:
      images: float32 (n, H, W, C), exactly what the kernel consumes.
      labels: float32 (n, K), centred one-hot or learned.
      classes: int64 (n,), the class that each image stands for.
      record: the set's record.
      where: the file or set, for the message.

    Raises:
      UserError: wrong dtype or shape, NaN or infinity, classes of different sizes, or fixed
        labels that are not one-hot minus 1/K of their class.
    """
    n_classes = record["n_classes"]
    n = n_classes * record["images_per_class"]
    for name, array in (("images", images), ("labels", labels)):
        if array.dtype != np.float32:
            raise UserError(f"{where}: the {name} are {array.dtype}, not float32")
    if images.ndim != 4 or images.shape[0] != n or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{where}: images {images.shape} are not {n} images (n, H, W, C) of 1 or 3 channels, "
            f"{record['images_per_class']} for each of {n_classes} classes"
        )
    if labels.shape != (n, n_classes):
        raise UserError(
            f"{where}: labels {labels.shape} do not fit {n} images, {n_classes} classes"
        )
    if classes.shape != (n,) or not ((classes >= 0) & (classes < n_classes)).all():
        raise UserError(f"{where}: the classes are not {n} numbers from 0 to {n_classes - 1}")
    counts = np.bincount(classes, minlength=n_classes)
    if (counts != record["images_per_class"]).any():
        raise UserError(
            f"{where}: the classes have between {counts.min()} and {counts.max()} images: a "
            f"release has as many of every class ({record['images_per_class']})"
        )
    for name, array in (("images", images), ("labels", labels)):
        if not np.isfinite(array).all():
            raise UserError(f"{where}: the {name} have NaN or infinite values")
    if not record["learned_labels"]:
        off = np.abs(labels - centred_one_hot(classes, n_classes)).max()
        if off > LABEL_TOLERANCE:
            raise UserError(
                f"{where}: fixed labels must be one-hot minus 1/{n_classes}, not off by {off:.1e}"
            )
    return LearnedSet.of(images, labels, record, classes=classes)


def _checked(learned: LearnedSet, directory: Path) -> LearnedSet:
    place = learned.path.parent
    for path in (place, learned.path):
        if not path.resolve().is_relative_to(directory.resolve()):
            raise UserError(f"{path} is a link that leaves {directory}: copy the files instead")
    record = learned.record
    require_releasable(record, str(place / RECORD))
    classes = slot_classes(record["images_per_class"], record["n_classes"])
    return fitting(learned.images, learned.labels, classes, record, learned.name)
