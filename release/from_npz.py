"""Learned sets from npz files with the official keys, scored here so that the card can state it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_file
from release.layout import KINDS, is_name
from release.npz_guard import check_npz
from release.records import check_record
from release.sets import SupportSet, check_arrays, refuse_doubled, slot_classes

if TYPE_CHECKING:
    from paper_repro.core.data import Dataset
    from paper_repro.core.preprocess import Transform

_UNSCORED = {"test_accuracy": 0.0, "test_mse": 0.0, "n_test": 1}


@dataclasses.dataclass(frozen=True)
class NpzSets:
    """Sets given as npz files (`images`, `labels`, optionally `classes`), and what they are.

    Attributes:
      npz: the files; images NHWC or NCHW as the kernel consumes them, labels (n, K) or (n,).
      dataset: whose images they stand for.
      preprocess: standard or zca.
      architecture: of the kernel they were made for: ConvNet, Myrtle-10, FC1, ...
      kernel: NTK or NNGP.
      method: as tables call it.
      augmentation: the targets were augmented.
      step: of the algorithm that made them, where it is known.
      diag_reg: ridge of KRR, relative to the mean of the support kernel's diagonal.
      name: of the one set, instead of one made from the fields above.
      n_test: score them on the first so many test images; all by default.
    """

    npz: tuple[Path, ...] = ()
    dataset: str = "cifar10"
    preprocess: str = "zca"
    architecture: str = "ConvNet"
    kernel: str = "NTK"
    method: str = "KIP"
    augmentation: bool = False
    step: int | None = None
    diag_reg: float = 1e-6
    name: str | None = None
    n_test: int | None = None


def from_npz(given: NpzSets, data_dir: Path | None) -> list[SupportSet]:
    """The sets of `given`, each scored by KRR on the test set (minutes for a hundred images).

    Labels are taken for fixed where they are one-hot minus 1/K, else for learned. Without an
    array `classes`, the class of a slot is that of its fixed label, or images are ordered by class.

    Raises:
      UserError: a file that should not be opened or does not fit the data set, or a bad option.
    """
    if given.preprocess not in KINDS:
        raise UserError(
            f"unknown preprocessing {given.preprocess!r}: choose one of {', '.join(KINDS)}"
        )
    if given.name is not None and (len(given.npz) != 1 or not is_name(given.name)):
        raise UserError(
            f"--name {given.name!r} must be one plain name in lower case, for one --npz file"
        )
    if given.n_test is not None and given.n_test < 1:
        raise UserError(f"n_test must be at least 1, not {given.n_test}")
    for path in given.npz:
        check_npz(path)
    if not given.npz:
        return []
    from paper_repro.core.data import load_dataset
    from paper_repro.core.preprocess import fitted

    data = load_dataset(given.dataset, data_dir)
    transform = fitted(data, given.preprocess)
    sets = [_read(path, given, data, transform) for path in given.npz]
    refuse_doubled([learned.name for learned in sets], "the npz files")
    return [_scored(learned, data, transform, given.n_test) for learned in sets]


def _read(path: Path, given: NpzSets, data: Dataset, transform: Transform) -> SupportSet:
    from paper_repro.core.sets.support_set import read_support_set

    from paper_repro.core.data.npz import read_npz
    from paper_repro.core.labels import centred_one_hot, is_centred_one_hot
    from paper_repro.core.preprocess.transform import digest
    from paper_repro.core.store.provenance import versions

    read = read_support_set(path, data.image_shape, data.n_classes)
    images, labels = (a.astype(np.float32) for a in (read.kernel_inputs, read.labels))
    n, n_classes = labels.shape
    if n % n_classes:
        raise UserError(f"{path}: {n} images cannot be shared equally by {n_classes} classes")
    classes = read_npz(path, ("images",), ("classes",)).get("classes")
    one_hot = labels.argmax(1)
    fixed = is_centred_one_hot(labels)
    if fixed:
        classes = one_hot if classes is None else classes
        labels = centred_one_hot(one_hot, n_classes).astype(np.float32)
    elif classes is None:
        classes = slot_classes(n // n_classes, n_classes)
    if classes.shape != (n,) or not np.issubdtype(classes.dtype, np.integer):
        raise UserError(f"{path}: classes must be {n} class numbers")
    record = {
        "format": 1,
        "name": given.name or _name(given, data.name, n // n_classes, fixed),
        "dataset": data.name,
        "title": data.title,
        "class_names": list(data.class_names),
        "method": given.method,
        "architecture": given.architecture,
        "kernel": given.kernel,
        "images_per_class": n // n_classes,
        "n_classes": n_classes,
        "zca": given.preprocess == "zca",
        "learned_labels": not fixed,
        "augmentation": given.augmentation,
        "diag_reg": given.diag_reg,
        "step": given.step,
        "seed": None,
        "preset": None,
        "budget": {},
        "config": {},
        "config_hash": None,
        "data_sha256": data.data_sha256,
        "transform_sha256": digest(transform),
        "file_sha256": sha256_of_file(path),
        "series": [],
        "seconds": None,
        "versions": versions(),
        "hardware": None,
        "git": None,
        "started": None,
        "command": f"given as {path.name}",
    }
    classes = classes.astype(np.int64)
    check_record({**record, "metrics": _UNSCORED}, str(path))
    check_arrays(images, labels, classes, record, str(path))
    return SupportSet(record["name"], images, labels, classes, record)


def _scored(
    learned: SupportSet, data: Dataset, transform: Transform, n_test: int | None
) -> SupportSet:
    from release.score import score_set

    record = dict(learned.record)
    found = score_set(learned.images, learned.labels, record, transform, data, slice(n_test))
    record["metrics"] = {
        "test_accuracy": found.accuracy,
        "test_mse": found.mse,
        "n_test": found.n,
    }
    return dataclasses.replace(learned, record=record)


def _name(given: NpzSets, dataset: str, images_per_class: int, fixed: bool) -> str:
    parts = [dataset, given.architecture, f"ipc{images_per_class}", given.preprocess]
    parts += ["fixed" if fixed else "learned", "aug" if given.augmentation else "noaug"]
    parts += [given.kernel] if given.kernel != "NTK" else []
    return "-".join(parts).lower().replace(" ", "")
