"""What scores a learned set: kernel ridge regression, or a finite network trained on it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.krr import score
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.method import Progress
from paper_repro.core.network.pytorch.spec import Evaluated, Evaluation, require_torch
from paper_repro.core.network.settings import Settings
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import score as score_set

if TYPE_CHECKING:
    import jax

    from paper_repro.core.data import Dataset
    from paper_repro.core.kernels.kernel import Kernel
    from paper_repro.core.network import grid
    from paper_repro.core.network.pytorch import training as torch_training
    from paper_repro.core.preprocess import Transform
    from paper_repro.core.sets.scoring import HeldOut
else:
    jax = lazy.module("jax")
    grid = lazy.module("paper_repro.core.network.grid")
    torch_training = lazy.module("paper_repro.core.network.pytorch.training")


class TestData(Protocol):
    """What a scorer needs of a data set (`prepared_data.PreparedData`)."""

    dataset: Dataset
    transform: Transform
    execution: Execution
    kernel_fn: Kernel
    test: HeldOut
    test_images: np.ndarray

    def test_for(self, kernel_fn: Kernel) -> HeldOut:
        """The test set, prepared for another kernel."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What a scorer is given besides the set.

    Attributes:
      kernel: the kernel that the set was learned with.
      diag_reg: the ridge that it was learned with.
      data: the data set, ready for it.
      seed: decides initialisation and batches of a network.
      directory: a directory of this run alone.
      report: see `Progress`.
    """

    kernel: KernelSpec
    diag_reg: float
    data: TestData
    seed: int
    directory: Path
    report: Progress


class Scorer(Protocol):
    """Gives the test accuracy of a learned set.

    Attributes:
      algorithm: what rows call it, `KRR` or `NN`.
      uses_kernel: it evaluates the kernel of its cell.
    """

    algorithm: ClassVar[str]
    uses_kernel: ClassVar[bool]

    @property
    def recorded(self) -> dict[str, Any]:
        """What the configuration of a row says of it."""

    @property
    def row_fields(self) -> dict[str, Any]:
        """Fields of a row that it decides in place of the cell."""

    @property
    def match(self) -> dict[str, Any]:
        """What else the rows of its line of a table have, as in `CellSpec.match`."""

    def score(self, learned: LearnedSet, of: Scoring) -> dict[str, Any]:
        """The fields of a result row that the run and its scoring fill.

        Returns:
          test_accuracy (a fraction), test_mse (with the 0.5 factor), n_test, step, seconds (None
          where only the caller's clock counts), budget, and more.
        """


class _OfTheCell:
    """A scorer whose rows name the kernel of their cell."""

    row_fields: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    match: ClassVar[Mapping[str, Any]] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class KRR(_OfTheCell):
    """Kernel ridge regression (`core.krr`).

    Attributes:
      kernel: the kernel; None for the one that the set was learned with.
      diag_reg: ridge relative to the mean of the support kernel's diagonal; None for the one that
        the set was learned with.
    """

    algorithm: ClassVar[str] = "KRR"
    uses_kernel: ClassVar[bool] = True
    kernel: KernelSpec | None = None
    diag_reg: float | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """See `Scorer.recorded`; nothing where kernel and ridge are those of the learning."""
        fields = {}
        if self.kernel is not None:
            fields["scored_by"] = dataclasses.asdict(self.kernel)
        if self.diag_reg is not None:
            fields["scored_diag_reg"] = self.diag_reg
        return fields

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> KRR:
        """The scorer of a row's configuration."""
        kernel = recorded.get("scored_by")
        spec = None if kernel is None else KernelSpec(**kernel)
        return cls(spec, recorded.get("scored_diag_reg"))

    def score(self, learned: LearnedSet, of: Scoring) -> dict[str, Any]:
        """See `Scorer.score`; what the run has measured with this kernel is not computed again."""
        facts = learned.record
        metrics, took = facts.get("metrics") if self == KRR() else None, 0.0
        if not metrics:
            ridge = of.diag_reg if self.diag_reg is None else self.diag_reg
            kernel_fn, test = of.data.kernel_fn, of.data.test
            if self.kernel not in (None, of.kernel):
                kernel_fn = of.data.execution.kernel(self.kernel)
                test = of.data.test_for(kernel_fn)
            if parameters := facts.get("extra", {}).get("parameters"):
                kernel_fn = kernel_fn.with_parameters(parameters)
            started = time.monotonic()
            found = score_set(learned, test, kernel_fn, ridge)
            took = time.monotonic() - started
            metrics = {
                "test_accuracy": found.accuracy,
                "test_mse": found.mse,
                "n_test": found.n,
            }
        return {
            **metrics,
            "step": facts["step"],
            "seconds": None if facts["seconds"] is None else facts["seconds"] + took,
            "budget": facts["budget"],
            **facts.get("extra", {}),
        }


@dataclasses.dataclass(frozen=True)
class FiniteNetwork(_OfTheCell):
    """Finite networks trained on the set: settings are chosen on validation, then tested once.

    The grid of the settings runs over learning rate, weight decay and the scale of the labels.

    Attributes:
      settings: fields of `network.settings.Settings`. The network's architecture is that of the
        cell's kernel.
    """

    algorithm: ClassVar[str] = "NN"
    uses_kernel: ClassVar[bool] = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def recorded(self) -> dict[str, Any]:
        """See `Scorer.recorded`."""
        return {"network": dict(self.settings)}

    def score(self, learned: LearnedSet, of: Scoring) -> dict[str, Any]:
        """See `Scorer.score`.

        Raises:
          AllDiverged: see `grid.choose`.
        """
        settings, facts = Settings(**self.settings), learned.record
        chosen = choose_network(settings, of, (learned.images, learned.labels))
        dataset = of.data.dataset
        y = centred_one_hot(dataset.y_test, dataset.n_classes)
        found = score(chosen.predict(of.data.test_images), y)
        return {
            "test_accuracy": found.accuracy,
            "test_mse": found.mse,
            "n_test": found.n,
            "step": facts["step"],
            "seconds": None,
            "width": settings.width,
            "chosen": chosen.point,
            "tried": chosen.tried,
            **facts.get("beside_network", {}),
            "budget": {
                "steps": settings.steps,
                "width": settings.width,
                "settings_tried": len(chosen.tried),
                **facts.get("beside_network", {}).get("budget", {}),
            },
        }


@dataclasses.dataclass(frozen=True)
class PublishedNetworks:
    """PyTorch networks trained on the set as DC's evaluation does, tested once, at their end.

    Attributes:
      evaluation: the networks and their training.
    """

    algorithm: ClassVar[str] = "NN"
    uses_kernel: ClassVar[bool] = False
    evaluation: Evaluation = Evaluation()

    @classmethod
    def within(cls, evaluation: Evaluation, budget: Any = None) -> PublishedNetworks:
        """The scorer at a budget.

        Args:
          evaluation: the published one.
          budget: a `Preset`, whose `networks` and `evaluation_epochs` are taken; None for neither.
        """
        if budget is not None:
            epochs = budget.evaluation_epochs or evaluation.epochs
            evaluation = dataclasses.replace(evaluation, networks=budget.networks, epochs=epochs)
        return cls(evaluation)

    @property
    def recorded(self) -> dict[str, Any]:
        """See `Scorer.recorded`."""
        return {"evaluation": self.evaluation.recorded}

    @property
    def row_fields(self) -> dict[str, Any]:
        """See `Scorer.row_fields`: rows name the network, and no kernel."""
        return {"architecture": self.evaluation.network.name, "kernel": None}

    @property
    def match(self) -> dict[str, Any]:
        """See `Scorer.match`: how the networks are trained, but not how many and for how long."""
        recorded, spent = self.evaluation.recorded, {"networks", "epochs"}
        names = {field.name for field in dataclasses.fields(self.evaluation)} - spent
        return {f"config.evaluation.{name}": [recorded.get(name)] for name in sorted(names)}

    def score(self, learned: LearnedSet, of: Scoring) -> dict[str, Any]:
        """See `Scorer.score`.

        Raises:
          Diverged, UserError: see `training.evaluate`.
        """
        require_torch()
        facts, dataset = learned.record, of.data.dataset
        found = torch_training.evaluate(
            self.evaluation,
            learned.images,
            learned.labels,
            of.data.test_images,
            dataset.y_test,
            of.seed,
            of.directory,
            of.report,
        )
        beside = facts.get("beside_network", {})
        spent = {**beside.get("budget", {}), "epochs": self.evaluation.epochs}
        reduced = self.evaluation.is_reduced
        return {**beside, **tested(found, learned, len(dataset.y_test), spent, reduced)}


def tested(
    found: Evaluated, learned: LearnedSet, n_test: int, spent: Mapping[str, Any], reduced: bool
) -> dict[str, Any]:
    """The fields of a row of several networks; see `Scorer.score`.

    Args:
      found: the outcome.
      learned: the set that they were trained on.
      n_test: test images.
      spent: what else belongs to the budget.
      reduced: the evaluation is less than the published one; where the set is, the row is as well.
    """
    facts = learned.record
    budget = {**facts["budget"], **spent, "networks": len(found.accuracies)}
    if reduced:
        budget["reduced"] = True
    return {
        "test_accuracy": float(np.mean(found.accuracies)),
        "test_mse": None,
        "n_test": n_test,
        "step": facts["step"],
        "seconds": found.seconds + (facts["seconds"] or 0),
        "evaluation_seconds": round(found.seconds, 1),
        "network_accuracies": found.accuracies,
        "budget": budget,
        **facts.get("extra", {}),
    }


def choose_network(
    settings: Settings, of: Scoring, support: tuple[np.ndarray, np.ndarray]
) -> grid.Chosen:
    """The best network of a grid on the data set's validation images.

    Args:
      settings: the grid.
      of: the data, and where the training is kept.
      support: kernel inputs (n, H, W, C) and labels (n, K).
    """
    dataset, first = of.data.dataset, slice(settings.n_validation)
    y = centred_one_hot(dataset.y_val[first], dataset.n_classes)
    key = jax.random.key(int(generator(of.seed, Purpose.NETWORK).integers(2**31)))
    validation = of.data.transform.apply(dataset.x_val[first]), y
    architecture = of.kernel.architecture
    return grid.choose(settings, architecture, support, validation, key, of.directory, of.report)
