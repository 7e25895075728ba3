"""Cells that train finite networks on stored sets or natural images, and what they may spend."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from paper_repro.core import methods
from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods import Method
from paper_repro.core.methods.random_draw import RandomConfig
from paper_repro.core.methods.stored import StoredConfig
from paper_repro.core.network.settings import ADAM, Optimizer
from paper_repro.core.preprocess import usual
from paper_repro.core.runs.cell import Cell, DataCut, cell_of
from paper_repro.core.runs.presets import SMOKE, Preset
from paper_repro.core.runs.scorers import FiniteNetwork, Scorer
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file

Preprocess = Literal["zca", "standard"]

CONVNET_NTK = KernelSpec("ConvNet", "NTK")

_PAPER = Preset("paper", steps=0, target_batch=0, seeds=3, network_width=1024, network_steps=5_000)
FINITE = {
    "smoke": dataclasses.replace(SMOKE, network_width=8, network_steps=4, n_validation=100),
    "laptop": dataclasses.replace(
        _PAPER, name="laptop", seeds=1, network_width=64, network_steps=500, n_validation=1_000
    ),
    "gpu": dataclasses.replace(_PAPER, name="gpu"),
    "paper": _PAPER,
}
"""Presets of Table 2 and of Figures 3 and 4, by name."""

# The supports are fitted within 100 steps, and accuracy on validation hardly depends on where on
# the ridge of learning rate and scale: CIFAR-10, ten KIP images, width 32 and 64, 300 to 2,000
# steps: 28 to 31 % at factor 0.5 with scale 1, 0.1 with 4 and 0.01 with 16; above it trainings
# collapse or diverge.
GRIDS = {
    "smoke": {"learning_rate_factor": (0.1, 0.3), "l2": (1e-3,), "label_scale": (8.0,)},
    "laptop": {"learning_rate_factor": (0.1, 0.5), "l2": (1e-3,), "label_scale": (1.0, 4.0)},
}
_FULL_GRID = {
    "learning_rate_factor": (0.03, 0.1, 0.3, 1.0),
    "l2": (1e-4, 1e-3),
    "label_scale": (1.0, 4.0, 16.0),
}

BY_SGD = {"config.network.optimizer": None}
"""What rows of networks have that were trained as in the paper, for `CellSpec.match`."""

AUGMENTED_SUPPORTS = {"shift": 3, "flip": True}
"""Fields of a `SupportAugmentation`; ours, as the paper's are not published."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How networks are trained on a set: as the paper does, or as two cores do best.

    Attributes:
      optimizer: sgd, as in the paper (momentum, its rate a fraction of the largest stable one), or
        adam with the rest of the recipe for small widths (NTK parameterisation, half of the RGB
        images mirrored; docs/results.md).
      learning_rate: of adam; of several, validation images choose. Default 0.02.
      label_scale: what labels are multiplied by, and outputs divided; of several, validation images
        choose. Default for adam 16, for sgd the preset's.

    Raises:
      UserError: a rate for sgd, or a number that is not positive.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: tuple[float, ...] = ()
    label_scale: tuple[float, ...] = ()

    def __post_init__(self):
        if self.optimizer == "sgd" and self.learning_rate:
            raise UserError(
                "the rate of sgd follows from the largest stable one: --learning-rate is for "
                "--optimizer adam"
            )
        for value in (*self.learning_rate, *self.label_scale):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"learning rates and label scales must be positive, not {value}")

    def sized(self, budget: Preset) -> Preset:
        """The budget with the width and the steps of adam's recipe, if it is adam's."""
        if self.optimizer == "sgd" or budget.name == "smoke":
            return budget
        return dataclasses.replace(budget, network_width=ADAM.width, network_steps=ADAM.steps)

    def network(self, budget: Preset) -> dict[str, Any]:
        """Settings of the finite networks at a preset (`network.settings.Settings`)."""
        if self.optimizer == "sgd":
            grid = dict(GRIDS.get(budget.name, _FULL_GRID))
            if self.label_scale:
                grid["label_scale"] = self.label_scale
            return settings(budget, grid, n_validation=budget.n_validation, stability="both")
        grid = {
            "learning_rate": self.learning_rate or ADAM.learning_rate,
            "label_scale": self.label_scale or ADAM.label_scale,
            "l2": ADAM.l2,
        }
        fixed = ("optimizer", "parameterisation", "augmentation")
        other = {name: getattr(ADAM, name) for name in fixed}
        if budget.name == "smoke":
            other["n_validation"] = budget.n_validation
        return settings(budget, grid, **other)


PAPER = Recipe()
"""The paper's training."""


def to_network(title: str) -> str:
    """The method, as tables call it, of cells that train a network on sets of a method.

    It differs from those of KRR, so that no table takes one for the other.

    Args:
      title: `Method.title`, or `File` for sets that were given as files.

    Example:
      >>> to_network("KIP")
      'KIP to NN'
    """
    return f"{title} to NN"


KIP_TO_NN, LS_TO_NN, NATURAL_TO_NN, FILE_TO_NN = map(to_network, ("KIP", "LS", "Natural", "File"))
"""The lines of the paper's tables and of their appendices."""


@dataclasses.dataclass(frozen=True)
class SetSource:
    """Where the sets are that networks are trained on.

    Attributes:
      npz: train on these sets alone: npz files with images and labels as the kernel consumes
        them, of the official release, say, or from the folder npz of a release.
      preprocess: what the images of the npz files went through, zca or standard; default zca for
        RGB, else standard.
      checkpoints: directory of learned sets.

    Raises:
      UserError: `preprocess` without a file that it could speak of.
    """

    npz: tuple[Path, ...] = ()
    preprocess: Preprocess | None = None
    checkpoints: Path = Path("checkpoints")

    def __post_init__(self):
        if self.preprocess is not None and not self.npz:
            raise UserError("--preprocess describes --npz files: give --npz too")

    def file_sets(self, datasets: Sequence[str], data_dir: Path | None) -> list[LearnedSet]:
        """One set a file, each named like its file.

        Args:
          datasets: the one data set that the images stand for.
          data_dir: see `load_dataset`.

        Raises:
          UserError: not one data set, no such data set, or two files of one name.
        """
        if len(datasets) != 1:
            raise UserError(
                "--npz needs exactly one --datasets: the data set that the images represent"
            )
        names = [path.stem for path in self.npz]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(
                f"two files are named {min(twice)}: rename one, because rows go by file names"
            )
        data = load_dataset(datasets[0], data_dir)
        zca = (self.preprocess or usual(data)) == "zca"
        return [file_set(path, data, zca) for path in self.npz]

    def convolutional_sets(self) -> list[LearnedSet]:
        """The sets of `checkpoints` that were learned with the ConvNet NTK, small ones first.

        Raises:
          UserError: no checkpoints directory.
        """
        sets = [s for s in read_catalogue(self.checkpoints) if is_by_convnet_kernel(s)]
        return sorted(sets, key=lambda learned: (learned.record["images_per_class"], learned.name))


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
    return not learned.record.get("config")


def is_by_convnet_kernel(learned: LearnedSet) -> bool:
    """Whether a set of `checkpoints/` was learned through the ConvNet NTK, and not by networks."""
    made = KernelSpec(learned.record["architecture"], learned.record["kernel"])
    return made == CONVNET_NTK and method_of_set(learned).uses_kernel


def method_of_set(learned: LearnedSet) -> Method:
    """The method that learned a set of `checkpoints/`."""
    return methods.recorded_by(learned.record["config"])


def cell_on(
    learned: LearnedSet,
    network: Mapping[str, Any],
    budget: Preset,
    step: int | None = None,
    method: str | None = None,
) -> Cell:
    """The cell that trains a finite network on a learned set; see `scored_cell`.

    Args:
      network: see `network.settings.Settings`.
      learned, budget, step, method: see `scored_cell`.
    """
    return scored_cell(learned, FiniteNetwork(dict(network)), budget, step, method)


def scored_cell(
    learned: LearnedSet,
    scorer: Scorer,
    budget: Preset,
    step: int | None = None,
    method: str | None = None,
) -> Cell:
    """The cell that scores a learned set.

    Of a file, labels that are one-hot minus 1/K are fixed, others learned.

    Args:
      learned: the set.
      scorer: what gives its test accuracy.
      budget: says how many test images count; how the data are cut otherwise (`n_train`,
        `image_side`) the set's own record says.
      step: one of the set's kept steps; None takes the set itself.
      method: the method's name in the table; default `to_network` of the set's method, or of
        `File`.

    Raises:
      UserError: no such file, or images that the classes of the data set cannot share equally.
    """
    if is_file_set(learned):
        return _cell_on_file(learned, scorer, budget, method or FILE_TO_NN)
    if step is not None:
        learned = learned.at_step(step)
    record = learned.record
    origin = cell_of(record["config"])
    cut = origin.cut
    if cut.n_test is None:
        cut = dataclasses.replace(cut, n_test=budget.n_test)
    config = StoredConfig(
        origin.images_per_class,
        _named(learned, record["file_sha256"]),
        origin.learned_labels,
        origin.config.augmentation,
        is_checked=budget.n_test == origin.cut.n_test,
        learned=learned,
    )
    name = method or to_network(method_of_set(learned).title)
    return Cell(origin.dataset, name, config, origin.kernel, scorer, origin.zca, cut)


def _named(learned: LearnedSet, sha256: str) -> dict[str, Any]:
    """See `StoredConfig.support`."""
    return {"name": learned.name, "sha256": sha256, "step": learned.record["step"]}


def _cell_on_file(learned: LearnedSet, scorer: Scorer, budget: Preset, method: str) -> Cell:
    config = StoredConfig(
        learned.images_per_class,
        _named(learned, sha256_of_file(learned.path)),
        not learned.has_fixed_labels,
        learned=learned,
    )
    dataset, zca = learned.record["dataset"], learned.record["zca"]
    cut = DataCut(n_test=budget.n_test)
    return Cell(dataset, method, config, CONVNET_NTK, scorer, zca, cut)


def natural_cell(
    dataset: str, images_per_class: int, network: Mapping[str, Any], budget: Preset, zca: bool
) -> Cell:
    """The cell that trains on a class-balanced draw of natural images with their own labels."""
    scorer, config = FiniteNetwork(dict(network)), RandomConfig(images_per_class)
    return Cell(dataset, NATURAL_TO_NN, config, CONVNET_NTK, scorer, zca, budget.cut)


def settings(budget: Preset, grid: Mapping[str, Sequence[Any]], **other: Any) -> dict[str, Any]:
    """Settings of a finite network: the budget's width and steps, the axes of `grid`, and others.

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
        and to_network(method_of_set(learned).title) == method
        and learned_labels in (None, learned.record["learned_labels"])
        and augmentation in (None, learned.record["augmentation"])
    ]
    return min(found, key=rank, default=None)
