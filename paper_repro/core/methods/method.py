"""What every method of distillation offers; the registry in this package lists them.

A method is one file or folder: a frozen config with the published defaults, and a subclass of
`Method` that makes a learned set from a problem. Table scripts, runs, exports and releases ask the
registry for what they need to know of a method and never compare its name.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from paper_repro.core.errors import UserError
from paper_repro.core.krr import DIAG_REG
from paper_repro.core.network.pytorch.spec import NetworkSpec

if TYPE_CHECKING:
    from paper_repro.core.methods.problem import Problem
    from paper_repro.core.network.pytorch.spec import Evaluation, UnrolledEvaluation
    from paper_repro.core.sets.learned_set import LearnedSet

Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with (steps done, steps in all, figures to show, such as the loss)."""

FIRST_FIELDS: Mapping[str, Any] = MappingProxyType(
    {
        "learned_labels": False,
        "initial": "natural",
        "learning_rate": 0.04,
        "diag_reg": DIAG_REG,
        "flat": 1e-3,
    }
)
"""What the rows of the first releases record for every method, KIP or not. The hashes of these
rows cover the fields, so the methods of that time go on recording them."""


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """What determines a learned set besides its data, kernel and seed.

    Attributes:
      images_per_class: size of the support set per class.
      diag_reg: ridge of the KRR that scores the set; a field of the methods that learn with one.
      augmentation: random maps of the training images; a field of the methods that have them.
      learner: the network that the method trains; a field of the methods that choose one.
    """

    images_per_class: int
    # Without annotations these are no fields, and subclasses may make them fields anywhere.
    diag_reg = DIAG_REG
    augmentation = None
    learner = None

    def __post_init__(self):
        if self.images_per_class < 1:
            raise UserError(f"images_per_class must be at least 1, not {self.images_per_class}")


class Pairs(NamedTuple):
    """Kernel entries that a run computes.

    Attributes:
      updates: entries of updates, forward and gradient.
      scored: entries that are only evaluated, those of the test set not counted.
    """

    updates: int = 0
    scored: int = 0


class Kept(NamedTuple):
    """A support set that a run left in its directory.

    Attributes:
      step: the method's step, None for a method without steps.
      path: safetensors file with the tensors `images` and `labels`.
      metrics: what was measured there, such as test_accuracy; often empty.
    """

    step: int | None
    path: Path
    metrics: Mapping[str, Any]


class Method(abc.ABC):
    """A way to distil a data set.

    Attributes:
      procedure: what result rows call the method in their configuration; never changes.
      network_procedure: what they call it where its set trains a finite network; None for the
        same.
      title: the method's name, whatever its variant, such as `KIP`.
      summary: what its sets are, in words that go on "... that stand in for a training set".
      papers: arXiv numbers of the papers that describe it.
      variants: name in tables -> the fields of the config that this name stands for.
      config_type: the method's frozen config.
      budget_fields: fields of the config that a preset or a command line decides.
      learns_images: the images are learned, rather than drawn from the training set.
      uses_kernel: the method learns through the kernel of its cell, so that its problem has one.
      whitens: the method takes whitened images where its table has them; others are standardised.
      trains: the run takes long enough to be shared between the tables that need its set.
      is_exported: the sets of its runs go into `checkpoints/` and so into releases.
      is_seeded: what a run gives depends on its seed.
      is_compared: has a line in Table 1 though the paper has no column for it.
    """

    procedure: ClassVar[str]
    network_procedure: ClassVar[str | None] = None
    title: ClassVar[str]
    summary: ClassVar[str] = "a few images with labels"
    papers: ClassVar[tuple[str, ...]] = ()
    variants: ClassVar[Mapping[str, Mapping[str, Any]]]
    config_type: ClassVar[type[MethodConfig]]
    budget_fields: ClassVar[tuple[str, ...]] = ()
    learns_images: ClassVar[bool] = True
    uses_kernel: ClassVar[bool] = True
    whitens: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    is_exported: ClassVar[bool] = True
    is_seeded: ClassVar[bool] = True
    is_compared: ClassVar[bool] = False

    @abc.abstractmethod
    def run(
        self,
        problem: Problem,
        config: MethodConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """Learn a set, or go on where an interrupted call in the same directory stopped.

        Args:
          problem: the data with their transform and kernel.
          config: the method's settings, of `config_type`.
          seed: decides the supports and everything else that is drawn.
          directory: a directory of this run alone; the set stays there as safetensors.
          progress: see `Progress`.

        Returns:
          The set. Its record has `step` (None without steps), `seconds` (of all sessions, None if
          only the caller's clock counts), `budget` (what was spent), `metrics` (what the run has
          measured of the set with its kernel on the test images, or nothing), `extra` (more
          fields for the result row) and `beside_network` (fields for the row of a network that
          is trained on the set; those of its `budget` stand beside the network's).

        Raises:
          UserError: bad input, or a directory of another run.
          Diverged: there is no result; the directory keeps everything up to there.
        """

    @property
    def option_fields(self) -> tuple[str, ...]:
        """Fields of the config that neither a budget nor a published cell varies.

        A row with another value than the cell's fills no published cell.
        """
        decided = {"images_per_class", *self.budget_fields}.union(*self.variants.values())
        names = [field.name for field in dataclasses.fields(self.config_type)]
        return tuple(name for name in names if name not in decided)

    def asked_fields(self, variant: str) -> tuple[str, ...]:
        """`option_fields`, and what the name in tables decides: a published cell asks for all.

        A name that is none of `variants` decides nothing.
        """
        return (*self.option_fields, *self.variants.get(variant, ()))

    def config(self, variant: str, images_per_class: int, budget: object = None) -> MethodConfig:
        """The config of a name in tables.

        Args:
          variant: one of `variants`.
          images_per_class: size of the support set per class.
          budget: an object with an attribute for each of `budget_fields` (a `Preset`); None keeps
            the published defaults.
        """
        spent = {}
        if budget is not None:
            spent = {name: getattr(budget, name) for name in self.budget_fields}
        return self.config_type(images_per_class, **spent, **self.variants[variant])

    def has_recorded(self, fields: Mapping[str, Any]) -> bool:
        """Whether a result row's configuration is of this method."""
        if "network" in fields and self.network_procedure is not None:
            return fields["procedure"] == self.network_procedure
        return fields["procedure"] == self.procedure

    def recorded(self, config: MethodConfig) -> dict[str, Any]:
        """The fields of a result row's configuration; what is None is left out."""
        fields = dataclasses.asdict(config)
        if config.learner is not None:
            fields["learner"] = config.learner.recorded
        return {name: value for name, value in fields.items() if value is not None}

    def from_recorded(self, fields: Mapping[str, Any]) -> MethodConfig:
        """The config that `recorded` has written; fields of cells are passed over."""
        known = {field.name for field in dataclasses.fields(self.config_type)}
        if fields.get("learner") is not None:
            fields = {**fields, "learner": NetworkSpec(**fields["learner"])}
        return self.config_type(**{name: fields[name] for name in known if name in fields})

    def tag(self, config: MethodConfig) -> str:
        """What tells the method in the name of a set, such as `learned-noaug`."""
        return self.procedure.replace("_", "-")

    def learns_labels(self, config: MethodConfig) -> bool:
        """Whether the labels of the set are learned, rather than one-hot minus 1/K."""
        return False

    def evaluation(
        self, config: MethodConfig, dataset: str
    ) -> Evaluation | UnrolledEvaluation | None:
        """The training of finite networks that scores a set of this method in its paper.

        None of a method whose paper scores by kernel ridge regression. `UnrolledEvaluation` needs
        sets whose record has their learning rates in `extra["rates"]`.
        """
        return None

    def augments(self, config: MethodConfig) -> bool:
        """Whether the training images were augmented."""
        return False

    def holds_out(self, config: MethodConfig) -> bool:
        """Whether the validation images stay out of the training images, to choose a checkpoint."""
        return False

    def pairs(self, config: MethodConfig, n_support: int, n_train: int) -> Pairs:
        """Kernel entries of a run, for the estimate of its time."""
        return Pairs()

    def within(self, problem: Problem, config: MethodConfig, seconds: float) -> MethodConfig:
        """The config of a run of about so many seconds on this machine, measured now.

        Scoring the test set at the end is the caller's. A method that cannot be shortened keeps its
        config.
        """
        return config

    def first_part(self, config: MethodConfig) -> MethodConfig | None:
        """The config of a shorter run that this one goes on from, if it was run; None for none."""
        return None

    def take_over(
        self, problem: Problem, config: MethodConfig, seed: int, earlier: Path, directory: Path
    ) -> None:
        """Make `directory` that of a run stopped where the run of `first_part` ended.

        Nothing happens where the run has begun; where there is no such run in `earlier`, that is
        said. A method needs it if its `first_part` gives a config.
        """
        raise NotImplementedError(f"{self.title} goes on from no other run")

    def published_budget(self, n_train: int) -> str:
        """What the papers spent, in words."""
        return ""

    def final(self, directory: Path, step: int | None) -> Path:
        """Where a finished run keeps its set."""
        return directory / "support.safetensors"

    def work(self, config: MethodConfig) -> int:
        """How much a run spends: of two sets of one name the one with more work is kept."""
        return 0

    def alternatives(self, config: MethodConfig) -> tuple[str, ...]:
        """Networks of whose kernels a step may draw one, see `Problem.alternatives`."""
        return ()

    def series(self, directory: Path, last: int | None) -> list[Kept]:
        """The supports of earlier steps that a run keeps, in order, before step `last`."""
        return []

    def curve(self, directory: Path) -> list[tuple[float, float]] | None:
        """Test accuracy in percent by step, as a run measured it on the way.

        Empty where the files of the run are elsewhere; None of a method that measures none.
        """
        return None
