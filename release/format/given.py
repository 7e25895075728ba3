"""Learned sets from npz files with the official keys, scored here so that the card can state it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.execution import Execution, ExecutionArguments
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import NAMES, Transform, fitted, from_file, usual
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets import scoring
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import PREPROCESSING, is_name, labels_tag, set_name
from paper_repro.core.sets.record import complete
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.store.provenance import versions
from release.format.arrays import fitting, refuse_doubled
from release.format.npz_guard import require_safe_npz
from release.format.records import ASSUMED, STATED, require_releasable

NOT_STATED = "not stated"
"""The method of a set whose giver does not name it."""

_UNSCORED = {"test_accuracy": 0.0, "test_mse": 0.0, "n_test": 1}


@dataclasses.dataclass(frozen=True)
class NpzSets:
    """Sets given as npz files (`images`, `labels`, optionally `classes`), and what they are.

    Attributes:
      npz: the files; images NHWC or NCHW as the kernel consumes them, labels (n, K) or (n,).
      dataset: the data set that the images stand for.
      preprocess: what the images went through: standard, zca, or the whitening of another project
        (zca-rfad, zca-mtt, zca-frepo); the card says that zca for RGB, else standard, was assumed
        if you do not say.
      transform: what they went through instead: a transform that this project saved
        (safetensors), or a recipe (JSON, see `paper_repro.core.preprocess.recipe_file`).
      architecture: the kernel's architecture: ConvNet, Myrtle-10, FC1, ...
      kernel: NTK or NNGP.
      method: the method that made them, as tables call it; the card says "not stated" if you do
        not say.
      augmentation: the targets were augmented.
      step: the step of that method, where it is known.
      diag_reg: ridge of KRR, relative to the mean of the support kernel's diagonal.
      name: the name of the one set, instead of one made from the fields above.
      n_test: score them on the first so many test images; all by default.
      execution: how the kernel that scores them is computed.
    """

    npz: tuple[Path, ...] = ()
    dataset: str = "cifar10"
    preprocess: str | None = None
    transform: Path | None = None
    architecture: str = "ConvNet"
    kernel: str = "NTK"
    method: str = NOT_STATED
    augmentation: bool = False
    step: int | None = None
    diag_reg: float = 1e-6
    name: str | None = None
    n_test: int | None = None
    execution: ExecutionArguments = Execution()


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """Sets from npz files with the transform that they are released with.

    Attributes:
      sets: the sets, scored.
      transform: what test images go through; None without sets.
      kind: what paths and cards call it: zca, standard or the name of another project's.
      origin: what is known of it, see `records.STATED`.
    """

    sets: list[LearnedSet]
    transform: Transform | None = None
    kind: str = ""
    origin: str = ""


def from_npz(given: NpzSets, data_dir: Path | None) -> Given:
    """The sets of `given`, each scored by KRR on the test set (minutes for a hundred images).

    Labels are taken for fixed where they are one-hot minus 1/K, else for learned. Without an
    array `classes`, the class of a slot is that of its fixed label; of learned labels images must
    be ordered by class, which their labels have to confirm.

    Raises:
      UserError: a file that should not be opened or does not fit the data set, classes that the
        file does not tell, or a bad option.
    """
    if given.preprocess not in (None, *NAMES):
        raise UserError(
            f"unknown preprocessing {given.preprocess!r}: choose one of {', '.join(NAMES)}"
        )
    if given.preprocess is not None and given.transform is not None:
        raise UserError("--transform replaces --preprocess: give one of them")
    if given.name is not None and (len(given.npz) != 1 or not is_name(given.name)):
        raise UserError(
            f"--name {given.name!r} must be one plain name in lower case, for one --npz file"
        )
    if given.n_test is not None and given.n_test < 1:
        raise UserError(f"n_test must be at least 1, not {given.n_test}")
    for path in given.npz:
        require_safe_npz(path)
    if not given.npz:
        return Given([])

    data = load_dataset(given.dataset, data_dir)
    found = _transform(given, data)
    sets = [_read(path, given, data, found) for path in given.npz]
    refuse_doubled([learned.name for learned in sets], "the npz files")
    sets = [_scored(learned, data, found.transform, given) for learned in sets]
    return dataclasses.replace(found, sets=sets)


def _transform(given: NpzSets, data: Dataset) -> Given:
    if given.transform is None:
        kind = given.preprocess or usual(data)
        return Given([], fitted(data, kind), kind, STATED if given.preprocess else ASSUMED)
    transform = from_file(given.transform, data)
    name = given.transform.stem.lower()
    kind = transform.settings.get("name", name if is_name(name) else "given")
    if kind in NAMES and digest(transform) != digest(fitted(data, kind)):
        raise UserError(
            f"{given.transform} is another transform than {kind} of {data.title}: give it another "
            "name"
        )
    return Given([], transform, kind, STATED)


def _read(path: Path, given: NpzSets, data: Dataset, found: Given) -> LearnedSet:
    theirs = LearnedSet.from_npz(path, data.image_shape, data.n_classes)
    images, labels = (a.astype(np.float32) for a in (theirs.kernel_inputs, theirs.labels))
    images_per_class, classes = theirs.images_per_class, theirs.classes
    fixed = theirs.has_fixed_labels
    if fixed:
        labels = centred_one_hot(labels.argmax(1), data.n_classes).astype(np.float32)
    tag, is_whitened = labels_tag(not fixed, given.augmentation), _is_whitened(found.transform)
    if found.kind not in PREPROCESSING:
        tag = f"{tag}-{found.kind}"
    place = data.name, given.architecture, images_per_class, is_whitened
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
        "zca": is_whitened,
        "learned_labels": not fixed,
        "augmentation": given.augmentation,
        "diag_reg": given.diag_reg,
        "step": given.step,
        "data_sha256": data.data_sha256,
        "transform_sha256": digest(found.transform),
        "file_sha256": sha256_of_file(path),
        "versions": versions(),
        "command": f"given as {path.name}",
    }
    record = complete(facts)
    require_releasable({**record, "metrics": _UNSCORED}, str(path))
    return fitting(images, labels, classes, record, str(path))


def _is_whitened(transform: Transform) -> bool:
    return bool({"eigenvectors", "matrix"} & transform.tensors.keys())


def _scored(learned: LearnedSet, data: Dataset, transform: Transform, given: NpzSets) -> LearnedSet:
    rows = slice(given.n_test)
    found = scoring.score_by_record(learned, transform, data, rows, given.execution)
    metrics = {"test_accuracy": found.accuracy, "test_mse": found.mse, "n_test": found.n}
    return dataclasses.replace(learned, record={**learned.record, "metrics": metrics})
