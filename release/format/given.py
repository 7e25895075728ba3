"""Learned sets from npz files with the official keys, scored here so that the card can state it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.execution import Execution, ExecutionArguments
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import Transform, fitted
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets import scoring
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import PREPROCESSING, is_name, labels_tag, set_name
from paper_repro.core.sets.record import complete
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.store.provenance import versions
from release.format.arrays import fitting, refuse_doubled
from release.format.npz_guard import require_safe_npz
from release.format.records import require_releasable

_UNSCORED = {"test_accuracy": 0.0, "test_mse": 0.0, "n_test": 1}


@dataclasses.dataclass(frozen=True)
class NpzSets:
    """Sets given as npz files (`images`, `labels`, optionally `classes`), and what they are.

    Attributes:
      npz: the files; images NHWC or NCHW as the kernel consumes them, labels (n, K) or (n,).
      dataset: the data set that the images stand for.
      preprocess: what the images went through, standard or zca.
      architecture: the kernel's architecture: ConvNet, Myrtle-10, FC1, ...
      kernel: NTK or NNGP.
      method: the method that made them, as tables call it.
      augmentation: the targets were augmented.
      step: the step of that method, where it is known.
      diag_reg: ridge of KRR, relative to the mean of the support kernel's diagonal.
      name: the name of the one set, instead of one made from the fields above.
      n_test: score them on the first so many test images; all by default.
      execution: how the kernel that scores them is computed.
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
    execution: ExecutionArguments = Execution()


def from_npz(given: NpzSets, data_dir: Path | None) -> list[LearnedSet]:
    """The sets of `given`, each scored by KRR on the test set (minutes for a hundred images).

    Labels are taken for fixed where they are one-hot minus 1/K, else for learned. Without an
    array `classes`, the class of a slot is that of its fixed label, or images are ordered by class.

    Raises:
      UserError: a file that should not be opened or does not fit the data set, or a bad option.
    """
    if given.preprocess not in PREPROCESSING:
        raise UserError(
            f"unknown preprocessing {given.preprocess!r}: choose one of {', '.join(PREPROCESSING)}"
        )
    if given.name is not None and (len(given.npz) != 1 or not is_name(given.name)):
        raise UserError(
            f"--name {given.name!r} must be one plain name in lower case, for one --npz file"
        )
    if given.n_test is not None and given.n_test < 1:
        raise UserError(f"n_test must be at least 1, not {given.n_test}")
    for path in given.npz:
        require_safe_npz(path)
    if not given.npz:
        return []

    data = load_dataset(given.dataset, data_dir)
    transform = fitted(data, given.preprocess)
    sets = [_read(path, given, data, transform) for path in given.npz]
    refuse_doubled([learned.name for learned in sets], "the npz files")
    return [_scored(learned, data, transform, given) for learned in sets]


def _read(path: Path, given: NpzSets, data: Dataset, transform: Transform) -> LearnedSet:
    found = LearnedSet.from_npz(path, data.image_shape, data.n_classes)
    images, labels = (a.astype(np.float32) for a in (found.kernel_inputs, found.labels))
    images_per_class, classes = found.images_per_class, found.classes
    fixed = found.has_fixed_labels
    if fixed:
        labels = centred_one_hot(labels.argmax(1), data.n_classes).astype(np.float32)
    tag = labels_tag(not fixed, given.augmentation)
    place = data.name, given.architecture, images_per_class, given.preprocess == "zca"
    facts = {
        "name": given.name or set_name(*place, tag, given.kernel),
        "dataset": data.name,
        "title": data.title,
        "class_names": list(data.class_names),
        "method": given.method,
        "architecture": given.architecture,
        "kernel": given.kernel,
        "images_per_class": images_per_class,
        "n_classes": data.n_classes,
        "zca": given.preprocess == "zca",
        "learned_labels": not fixed,
        "augmentation": given.augmentation,
        "diag_reg": given.diag_reg,
        "step": given.step,
        "data_sha256": data.data_sha256,
        "transform_sha256": digest(transform),
        "file_sha256": sha256_of_file(path),
        "versions": versions(),
        "command": f"given as {path.name}",
    }
    record = complete(facts)
    require_releasable({**record, "metrics": _UNSCORED}, str(path))
    return fitting(images, labels, classes, record, str(path))


def _scored(learned: LearnedSet, data: Dataset, transform: Transform, given: NpzSets) -> LearnedSet:
    rows = slice(given.n_test)
    found = scoring.score_by_record(learned, transform, data, rows, given.execution)
    metrics = {"test_accuracy": found.accuracy, "test_mse": found.mse, "n_test": found.n}
    return dataclasses.replace(learned, record={**learned.record, "metrics": metrics})
