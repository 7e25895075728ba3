"""A learned set on its way into a release, checked: from a `checkpoints/` directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import SUPPORT, LearnedSet, read_catalogue
from release.records import check_record

LABEL_TOLERANCE = 1e-7
"""How far a fixed float32 label may be from one-hot minus 1/K: less than one rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class SupportSet:
    """What a release holds of one set.

    Attributes:
      name: of the set and of its release configuration.
      images: float32 (n, H, W, C), exactly what the kernel consumes.
      labels: float32 (n, K), centred one-hot or learned.
      classes: int64 (n,), the class each support slot belongs to.
      record: see `release.records`.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    record: Mapping[str, Any]


def from_checkpoints(directory: Path) -> list[SupportSet]:
    """All sets of a `checkpoints/` directory, by name.

    Raises:
      UserError: no such directory, no set in it, a name twice, a link that leaves it, or a set
        with a damaged file, a wrong record, or arrays that do not fit the record.
    """
    sets = read_catalogue(directory)
    if not sets:
        raise UserError(f"{directory} lists no sets: export some first")
    refuse_doubled([learned.name for learned in sets], str(directory))
    return sorted((_read(learned, directory) for learned in sets), key=lambda s: s.name)


def refuse_doubled(names: list[str], where: str) -> None:
    """Raise UserError where a name stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where} has the set {name} more than once")


def slot_classes(images_per_class: int, n_classes: int) -> np.ndarray:
    """The class of each support slot, int64: supports are ordered by class."""
    return np.repeat(np.arange(n_classes), images_per_class)


def check_arrays(
    images: np.ndarray, labels: np.ndarray, classes: np.ndarray, record: Mapping[str, Any], of: str
) -> None:
    """Refuse arrays that do not fit the record.

    Raises:
      UserError: wrong dtype or shape, NaN or infinity, or fixed labels that are not one-hot
        minus 1/K of their class.
    """
    from paper_repro.core.labels import centred_one_hot

    n_classes = record["n_classes"]
    n = n_classes * record["images_per_class"]
    for name, array in (("images", images), ("labels", labels)):
        if array.dtype != np.float32:
            raise UserError(f"{of}: the {name} are {array.dtype}, not float32")
    if images.ndim != 4 or images.shape[0] != n or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{of}: images {images.shape} are not {n} images (n, H, W, C) of 1 or 3 channels, "
            f"{record['images_per_class']} for each of {n_classes} classes"
        )
    if labels.shape != (n, n_classes):
        raise UserError(f"{of}: labels {labels.shape} do not fit {n} images, {n_classes} classes")
    if classes.shape != (n,) or not ((classes >= 0) & (classes < n_classes)).all():
        raise UserError(f"{of}: the classes are not {n} numbers from 0 to {n_classes - 1}")
    for name, array in (("images", images), ("labels", labels)):
        if not np.isfinite(array).all():
            raise UserError(f"{of}: the {name} have NaN or infinite values")
    if not record["learned_labels"]:
        off = np.abs(labels - centred_one_hot(classes, n_classes)).max()
        if off > LABEL_TOLERANCE:
            raise UserError(
                f"{of}: fixed labels must be one-hot minus 1/{n_classes}, not off by {off:.1e}"
            )


def _read(learned: LearnedSet, directory: Path) -> SupportSet:
    where = learned.directory
    for path in (where, where / SUPPORT):
        if not path.resolve().is_relative_to(directory.resolve()):
            raise UserError(f"{path} is a link that leaves {directory}: copy the files instead")
    check_record(learned.record, str(where / "record.json"))
    try:
        images, labels = learned.tensors()
    except KeyError as error:
        raise UserError(f"{where / SUPPORT} has no tensor {error}: export it again") from error
    classes = slot_classes(learned.record["images_per_class"], learned.record["n_classes"])
    check_arrays(images, labels, classes, learned.record, learned.name)
    return SupportSet(learned.name, images, labels, classes, learned.record)
