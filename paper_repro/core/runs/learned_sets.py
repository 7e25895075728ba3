"""Cells of the procedure `transfer`, from the sets of a `checkpoints/` directory or an npz."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.labels import is_centred_one_hot
from paper_repro.core.preprocess import usual
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.presets import Preset
from paper_repro.core.sets.catalogue import SUPPORT, LearnedSet, read_catalogue, series_file
from paper_repro.core.sets.support_set import read_support_set
from paper_repro.core.store.files import sha256_of_file

Preprocess = Literal["zca", "standard"]

KIP_TO_NN, LS_TO_NN, NATURAL_TO_NN, FILE_TO_NN = (
    "KIP to NN",
    "LS to NN",
    "Natural to NN",
    "File to NN",
)
"""Methods of the cells. They differ from those of KRR, so that no table takes one for the other."""


@dataclasses.dataclass(frozen=True)
class FileSet:
    """A set in an npz of the official keys, or in the npz copy of a release.

    Attributes:
      path: of the npz.
      data: the data set that its images stand for.
      zca: whether its images are whitened.
      name: what rows call it.
    """

    path: Path
    data: Dataset
    zca: bool
    name: str


def file_sets(
    paths: Sequence[Path],
    datasets: Sequence[str],
    preprocess: Preprocess | None,
    data_dir: Path | None,
) -> list[FileSet]:
    """One set a file, each named like its file.

    Args:
      paths: of the npz files.
      datasets: the one data set that their images stand for.
      preprocess: what the images went through; None means ZCA for RGB, else standard.
      data_dir: see `load_dataset`.

    Raises:
      UserError: not one data set, no such data set, or two files of one name.
    """
    if len(datasets) != 1:
        raise UserError("--npz needs one --datasets: the data set that the images stand for")
    names = [path.stem for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two files are named {min(twice)}: rename one, rows go by these names")
    data = load_dataset(datasets[0], data_dir)
    zca = (preprocess or usual(data)) == "zca"
    return [FileSet(path, data, zca, path.stem) for path in paths]


def refuse_without_files(npz: Sequence[Path], preprocess: Preprocess | None) -> None:
    """Raise UserError where `preprocess` is given and no file that it could speak of."""
    if preprocess is not None and not npz:
        raise UserError("--preprocess says what the images of --npz files went through: give both")


def convolutional_sets(checkpoints: Path) -> list[LearnedSet]:
    """The sets that were learned with the ConvNet NTK, small ones first.

    Raises:
      UserError: no checkpoints directory.
    """
    sets = [
        learned
        for learned in read_catalogue(checkpoints)
        if (learned.record["architecture"], learned.record["kernel"]) == ("ConvNet", "NTK")
    ]
    return sorted(sets, key=lambda learned: (learned.record["images_per_class"], learned.name))


def cell_on(
    learned: LearnedSet | FileSet,
    network: Mapping[str, Any],
    budget: Preset,
    step: int | None = None,
    method: str | None = None,
) -> Cell:
    """The cell that trains a finite network on a learned set.

    Of a file, labels that are one-hot minus 1/K are fixed, others learned.

    Args:
      learned: the set.
      network: see `grid.Settings`.
      budget: says how many test images count; how the data are cut otherwise (`n_train`,
        `image_side`) the set's own record says.
      step: of KIP, one of its series; None takes the set itself.
      method: as the table calls it; default `KIP_TO_NN`, `LS_TO_NN` or `FILE_TO_NN`.

    Raises:
      UserError: no such file, or images that the classes of the data set cannot share equally.
    """
    if isinstance(learned, FileSet):
        return _cell_on_file(learned, network, budget, method or FILE_TO_NN)
    from paper_repro.core.runs.export import cell_of  # much code, loaded when needed

    record = learned.record
    kip = cell_of(record)
    support = {"name": learned.name, "sha256": record["file_sha256"], "step": record["step"]}
    path, metrics = learned.directory / SUPPORT, record["metrics"]
    if step is not None and step != record["step"]:
        entry = next(entry for entry in record["series"] if entry["step"] == step)
        support |= {"sha256": entry["sha256"], "step": step}
        path, metrics = learned.directory / series_file(step), entry["metrics"]
    return Cell(
        kip.dataset,
        kip.images_per_class,
        method or (LS_TO_NN if kip.procedure == "label_solve" else KIP_TO_NN),
        "transfer",
        kip.architecture,
        kip.kernel,
        zca=kip.zca,
        learned_labels=kip.learned_labels,
        augmentation=kip.augmentation,
        n_train=kip.n_train,
        n_test=budget.n_test if kip.n_test is None else kip.n_test,
        image_side=kip.image_side,
        network=dict(network),
        support=support,
        support_path=path,
        support_budget=_budget(record, support["step"]),
        support_record=_provenance(record) if budget.n_test == kip.n_test else None,
        krr_accuracy=metrics.get("test_accuracy"),
    )


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """See `Cell.support_record`."""
    return {name: record[name] for name in ("data_sha256", "transform_sha256", "zca")}


def _budget(record: Mapping[str, Any], step: int | None) -> dict[str, Any]:
    """See `Cell.support_budget`."""
    spent = record["budget"]
    took = {"kip_steps": step, "kip_target_batch": spent.get("target_batch")}
    if spent.get("reduced", record["preset"] != "paper"):
        took["reduced"] = True
    return {name: value for name, value in took.items() if value is not None}


def _cell_on_file(given: FileSet, network: Mapping[str, Any], budget: Preset, method: str) -> Cell:
    path, data = given.path, given.data
    found = read_support_set(path, data.image_shape, data.n_classes)
    if len(found.images) % data.n_classes:
        raise UserError(
            f"{path}: {len(found.images)} images cannot be shared equally by {data.n_classes} "
            "classes"
        )
    return Cell(
        *(data.name, len(found.images) // data.n_classes, method, "transfer", "ConvNet", "NTK"),
        zca=given.zca,
        learned_labels=not is_centred_one_hot(found.labels),
        n_test=budget.n_test,
        network=dict(network),
        support={"name": given.name, "sha256": sha256_of_file(path), "step": None},
        support_path=path,
    )


def natural_cell(
    dataset: str, images_per_class: int, network: Mapping[str, Any], budget: Preset, zca: bool
) -> Cell:
    """The cell that trains on a class-balanced draw of natural images with their own labels."""
    return Cell(
        *(dataset, images_per_class, NATURAL_TO_NN, "transfer", "ConvNet", "NTK"),
        zca=zca,
        network=dict(network),
        **budget.data,
    )


def settings(budget: Preset, grid: Mapping[str, Sequence[Any]], **other: Any) -> dict[str, Any]:
    """`Cell.network` of a budget: its width and steps, the axes of `grid`, and what else is given.

    What is None is left out.
    """
    fields = {"width": budget.network_width, "steps": budget.network_steps, **grid, **other}
    return {name: value for name, value in fields.items() if value is not None}


def find_set(
    sets: Sequence[LearnedSet],
    dataset: str,
    images_per_class: int,
    method: str,
    learned_labels: bool | None = None,
    augmentation: bool | None = None,
) -> LearnedSet | None:
    """The set of KIP or LS for a data set and size, or None.

    Of several, sets with ZCA come first, then those without augmented targets, then those with
    fixed labels; `learned_labels` and `augmentation` (of the targets) ask for one kind.
    """

    def rank(learned: LearnedSet) -> tuple[bool, bool, bool, str]:
        record = learned.record
        return not record["zca"], record["augmentation"], record["learned_labels"], learned.name

    found = [
        learned
        for learned in sets
        if learned.record["dataset"] == dataset
        and learned.record["images_per_class"] == images_per_class
        and (learned.record["config"]["procedure"] == "label_solve") == (method == LS_TO_NN)
        and learned_labels in (None, learned.record["learned_labels"])
        and augmentation in (None, learned.record["augmentation"])
    ]
    return min(found, key=rank, default=None)
