"""Cells of the procedure `transfer`, from the sets of a `checkpoints/` directory or an npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from paper_repro.core import lazy
from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import usual
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.presets import Preset
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file

export = lazy.module("paper_repro.core.runs.export")

Preprocess = Literal["zca", "standard"]

KIP_TO_NN, LS_TO_NN, NATURAL_TO_NN, FILE_TO_NN = (
    "KIP to NN",
    "LS to NN",
    "Natural to NN",
    "File to NN",
)
"""Methods of the cells. They differ from those of KRR, so that no table takes one for the other."""


def file_sets(
    paths: Sequence[Path],
    datasets: Sequence[str],
    preprocess: Preprocess | None,
    data_dir: Path | None,
) -> list[LearnedSet]:
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
    return [file_set(path, data, zca) for path in paths]


def file_set(path: Path, data: Dataset, zca: bool) -> LearnedSet:
    """A set in an npz of the official keys, named like the file.

    Args:
      path: the npz.
      data: the data set that its images stand for.
      zca: whether its images are whitened.
    """
    facts = {"dataset": data.name, "zca": zca, "step": None}
    return LearnedSet.from_npz(path, data.image_shape, data.n_classes, facts)


def is_file_set(learned: LearnedSet) -> bool:
    """Whether a set came as an npz, so that its record says nothing of a run."""
    return "config" not in learned.record


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
    learned: LearnedSet,
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
    if is_file_set(learned):
        return _cell_on_file(learned, network, budget, method or FILE_TO_NN)
    if step is not None:
        learned = learned.at_step(step)
    record = learned.record
    kip = export.cell_of(record)
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
        support=_named(learned, record["file_sha256"]),
        support_path=learned.path,
        support_budget=_budget(record),
        support_record=_provenance(record) if budget.n_test == kip.n_test else None,
        krr_accuracy=record["metrics"].get("test_accuracy"),
    )


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """See `Cell.support_record`."""
    return {name: record[name] for name in ("data_sha256", "transform_sha256", "zca")}


def _named(learned: LearnedSet, sha256: str) -> dict[str, Any]:
    """See `Cell.support`."""
    return {"name": learned.name, "sha256": sha256, "step": learned.record["step"]}


def _budget(record: Mapping[str, Any]) -> dict[str, Any]:
    """See `Cell.support_budget`."""
    spent = record["budget"]
    took = {"kip_steps": record["step"], "kip_target_batch": spent.get("target_batch")}
    if spent.get("reduced", record["preset"] != "paper"):
        took["reduced"] = True
    return {name: value for name, value in took.items() if value is not None}


def _cell_on_file(
    learned: LearnedSet, network: Mapping[str, Any], budget: Preset, method: str
) -> Cell:
    return Cell(
        *(learned.record["dataset"], learned.images_per_class, method),
        *("transfer", "ConvNet", "NTK"),
        zca=learned.record["zca"],
        learned_labels=not learned.has_fixed_labels,
        n_test=budget.n_test,
        network=dict(network),
        support=_named(learned, sha256_of_file(learned.path)),
        support_path=learned.path,
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
