"""Budgets by name, and what a cell takes. A preset says how much to spend, a cell on what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import tyro

from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.methods.kip.config import Decay, FinalLabels
from paper_repro.core.runs.cell import Cell, DataCut
from paper_repro.core.store.row_schema import PRESETS


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a run may spend.

    Attributes:
      name: the preset's name on the command line.
      steps: KIP updates at most.
      target_batch: targets per KIP step.
      patience: see `KIPConfig.patience`; None runs all steps with every image as a target.
      decay: see `KIPConfig.decay`.
      restart_at: see `KIPConfig.restart_at`.
      final_labels: see `KIPConfig.final_labels`.
      seeds: how many, counted from 0.
      n_train: training images used; None for all.
      n_test: test images used; None for all.
      image_side: images are average-pooled to this side; None leaves them as they are.
      network_width: width of finite networks.
      network_steps: steps of their training.
      n_targets: see `LabelSolveConfig.n_targets`.
      iterations: see `MatchingConfig.iterations`.
      real_batch: see `MatchingConfig.real_batch`.
      feature_epochs: see `SelectedConfig.feature_epochs`; DC does not publish the number.
      outer_steps: of DD, SLDD and LD, see `DistillationConfig.outer_steps`; None for the published
        number.
      outer_batch: natural images of such a step.
      networks: PyTorch networks trained on each set by the published evaluation.
      evaluation_epochs: their epochs; None for the published number.
      n_validation: validation images that choose their settings; None for all.
      natural: images per class of natural supports that are scored for comparison.
    """

    name: str
    steps: int
    target_batch: int
    patience: int | None = None
    decay: Decay | None = None
    restart_at: int | None = None
    final_labels: FinalLabels | None = None
    seeds: int = 1
    n_train: int | None = None
    n_test: int | None = None
    image_side: int | None = None
    network_width: int = 1024
    network_steps: int = 5_000
    n_targets: int | None = None
    iterations: int = 1_000
    real_batch: int = 256
    feature_epochs: int = 30
    outer_steps: int | None = None
    outer_batch: int = 1_024
    networks: int = 20
    evaluation_epochs: int | None = None
    n_validation: int | None = None
    natural: tuple[int, ...] = (1, 2, 4, 8, 10, 16, 32, 64, 128, 256)

    @property
    def kip_in_words(self) -> str:
        """What KIP spends, as in `960 steps with target batch 64, the rate falling to 0`."""
        words = f"{self.steps:,} steps with target batch {self.target_batch:,}"
        return words if self.decay is None else f"{words}, the rate falling to 0"

    @property
    def cut(self) -> DataCut:
        """How much of the data is used."""
        return DataCut(self.n_train, self.n_test, self.image_side)


def find_preset(name: str, table: dict[str, Preset]) -> Preset:
    """The preset of a table by name.

    Raises:
      UserError: unknown name.
    """
    if name not in table:
        raise UserError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return table[name]


def largest_preset(
    rows: Iterable[Mapping[str, Any]], script: str, table: Mapping[str, Preset]
) -> Preset:
    """The largest preset that any row of a script has; the laptop's where it has no row.

    Args:
      rows: result rows, of any script.
      script: the script's name.
      table: its presets by name, from small to large.
    """
    names = {row["preset"] for row in rows if row["table"] == script}
    return next((table[name] for name in reversed(table) if name in names), table["laptop"])


OVERRIDABLE = {
    "steps": 0,
    "target_batch": 1,
    "network_width": 1,
    "network_steps": 1,
    "n_targets": 1,
    "iterations": 1,
    "real_batch": 1,
    "networks": 1,
    "feature_epochs": 1,
    "outer_steps": 1,
}
"""What may be changed on a command line, with the smallest number that a run can spend."""


@dataclasses.dataclass(frozen=True)
class Spending:
    """What runs spend, and how, instead of what the preset says (not with the paper preset).

    Attributes:
      steps: KIP steps.
      target_batch: targets per KIP step.
      decay: cosine lets the learning rate fall to 0 over the steps, constant keeps it, as
        published; default the preset's. Many small target batches with a decay reach further in
        the same time than a few large ones at a constant rate.
      restart_at: the step at which a decaying rate begins again. A finished run goes on so: with
        more --steps, its own number as --restart-at, and the same --out.
      final_labels: solve replaces learned labels at the end by the least squares solution on all
        training images.
      n_targets: training images against which Label Solve finds its labels; default all.
      iterations: iterations of DC and DSA.
      real_batch: natural images a class in such an iteration.
      outer_steps: steps of DD, SLDD and LD; default the preset's or, without one, the published
        number.
      feature_epochs: epochs of the network whose features coresets are chosen by.
      minutes: minutes of each run on this machine, whose speed is measured first. They decide the
        KIP steps, with a rate that decays, the targets of Label Solve, and the iterations or outer
        steps of the others. Networks that score a set come on top.

    Raises:
      UserError: minutes and a number that they decide, or a restart without the number of steps.
    """

    steps: int | None = None
    target_batch: int | None = None
    decay: Decay | Literal["constant"] | None = None
    restart_at: int | None = None
    final_labels: FinalLabels | None = None
    n_targets: int | None = None
    iterations: int | None = None
    real_batch: int | None = None
    outer_steps: int | None = None
    feature_epochs: int | None = None
    minutes: float | None = None

    def __post_init__(self):
        for name in ("steps", "n_targets", "iterations", "outer_steps"):
            if self.minutes is not None and getattr(self, name) is not None:
                option = name.replace("_", "-")
                raise UserError(f"--minutes decides the number of {option}: leave out --{option}")
        if self.restart_at is not None and self.steps is None:
            raise UserError("--restart-at needs --steps, more than so many")

    @property
    def given(self) -> dict[str, bool]:
        """Which of the fields are given, by name."""
        return {name: value is not None for name, value in dataclasses.asdict(self).items()}

    def of(self, budget: Preset) -> Preset:
        """`budget` with what is given here; errors as in `overridden`.

        A rate that decays over a number of steps needs all of them: with it no validation loss
        ends the run.
        """
        changes = dataclasses.asdict(self)
        if changes.pop("minutes") is not None:
            changes["decay"] = self.decay or "cosine"
        found = overridden(budget, **changes)
        if found.decay == "constant":
            found = dataclasses.replace(found, decay=None)
        return found if found.decay is None else dataclasses.replace(found, patience=None)


def overridden(budget: Preset, **changes: int | str | None) -> Preset:
    """`budget` with other values of `OVERRIDABLE` or `Spending`, where they are given (not None).

    Raises:
      UserError: of the paper's budget, which would then no longer be the paper's, or a number
        that no run can spend.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name, value in given.items():
        if name in OVERRIDABLE and value < OVERRIDABLE[name]:
            words = name.removeprefix("network_")
            raise UserError(f"{words} must be at least {OVERRIDABLE[name]}, not {value}")
    if given:
        refuse_paper(budget.name)
    return dataclasses.replace(budget, **given)


def refuse_paper(preset: str) -> None:
    """Raise UserError if a budget is to be changed that is the paper's."""
    if preset == "paper":
        raise UserError(
            "the paper preset always spends the paper's budget: use --preset gpu or laptop"
        )


SMOKE = Preset(
    "smoke",
    steps=2,
    target_batch=200,
    n_train=1_000,
    n_test=500,
    image_side=8,
    network_width=64,
    network_steps=20,
    iterations=2,
    real_batch=8,
    feature_epochs=1,
    outer_steps=2,
    outer_batch=64,
    networks=2,
    evaluation_epochs=3,
)
"""For tests: seconds, and never in a published table."""

CONVNET = {
    "smoke": dataclasses.replace(SMOKE, steps=1, target_batch=100, n_test=200),
    "laptop": Preset(
        "laptop",
        steps=960,
        target_batch=64,
        decay="cosine",
        real_batch=32,
        feature_epochs=2,
        outer_steps=2_000,
        networks=5,
    ),
    "gpu": Preset("gpu", steps=1_000, target_batch=5_000, seeds=3),
    "paper": Preset("paper", steps=10_000, target_batch=5_000, patience=1_000, seeds=3),
}
"""Of KIP with the ConvNet kernel, by name; 10,000 steps are the most, see `patience`."""

SpendingArguments = tyro.conf.OmitArgPrefixes[Annotated[Spending, tyro.conf.arg(name="spending")]]
"""It as an argument of a `main`."""

_MS_PER_PAIR = {32: (0.11, 0.55), 28: (0.08, 0.41)}
"""By image side: a forward pass (`benchmark kernel`) and all of a KIP step (of a run with 100
supports; of 28x28 images in proportion to the forward passes)."""


_OF_NETWORKS = {
    True: ((10, "a week or more, or `--minutes`,"), (1, "an hour or more")),
    False: ((10, "an hour or more"), (1, "ten minutes or more")),
}
"""What a set of networks takes, by whether it is learned and by its images per class. With ten of
them an iteration of DC has ten updates and 450 epochs of the network, ten minutes or more."""


def needs(cell: Cell) -> str:
    """In words, for a ConvNet cell on an official data set: `about 9 min on two AVX-512 cores`.

    Cores without AVX-512 take two to three times as long.
    """
    if not cell.evaluates_kernel:
        by_size = _OF_NETWORKS[cell.method_object.learns_images]
        time = next(time for least, time in by_size if cell.images_per_class >= least)
        return f"`make torch`, and {time} at `--preset laptop` (two cores)"
    if cell.architecture != "ConvNet":
        return "minutes at `--preset laptop`, 30 minutes or more at `--preset paper` (two cores)"
    dataset = registry.DATASETS[cell.dataset]
    forward, both = _MS_PER_PAIR[dataset.image_shape[0]]
    n = cell.images_per_class * len(dataset.class_names)
    pairs = cell.method_object.pairs(cell.config, n, dataset.n_train)
    ms = pairs.updates * both + (pairs.scored + n * dataset.n_test) * forward
    minutes = math.ceil(ms / 60_000)
    took = f"{minutes} min" if minutes < 90 else f"{minutes / 60:.0f} h"
    return f"about {took} on two AVX-512 cores"
