"""What DD, SLDD and LD share: outer steps on batches of natural images, counted in epochs."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import Method, MethodConfig, Progress
from paper_repro.core.network.pytorch.spec import NetworkSpec, network_of_dd, require_torch
from paper_repro.core.store.checkpoint import Resume

if TYPE_CHECKING:
    from paper_repro.core.methods.problem import Problem

EPOCHS, OUTER_BATCH = 400, 1_024
"""The published budget: passes over the training images, in batches of this size."""


@dataclasses.dataclass(frozen=True)
class OuterStepsConfig(MethodConfig):
    """What the settings of such methods have in common.

    Attributes:
      outer_steps: updates of what is learned; None for the published 400 epochs.
      outer_batch: natural images whose loss is reduced.
      learner: the network; None for LeNet on gray images and AlexCifarNet on images in colour.
    """

    outer_steps: int | None = None
    outer_batch: int = OUTER_BATCH
    learner: NetworkSpec | None = None

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("outer_steps", "outer_batch")

    def require_positive(self, *names: str) -> None:
        """Raises a `UserError` for a count below 1; None is left to its default."""
        for name in names:
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")

    def steps_for(self, n_train: int) -> int:
        """Outer steps with so many training images."""
        return self.outer_steps or EPOCHS * math.ceil(n_train / self.outer_batch)

    def network_for(self, channels: int) -> NetworkSpec:
        """The network for images of so many channels."""
        return self.learner or network_of_dd(channels)

    def is_reduced(self, n_train: int) -> bool:
        """Whether fewer steps or images a step are spent than published."""
        whole = dataclasses.replace(self, outer_steps=None, outer_batch=OUTER_BATCH)
        fewer = self.steps_for(n_train) < whole.steps_for(n_train)
        return fewer or self.outer_batch < OUTER_BATCH


class Learning(Protocol):
    """The outer steps of one run; what one draws depends on its number alone.

    Attributes:
      done: how many are done.
      loss: of the last one.
      total: of the run.
    """

    done: int
    loss: float
    total: int

    def step(self) -> None:
        """One outer step."""

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""


class OuterSteps(Method):
    """A method of such steps; it says how a run begins."""

    @abc.abstractmethod
    def begin(self, problem: Problem, config: OuterStepsConfig, seed: int) -> Learning:
        """A run before its first step."""

    def take_all(
        self,
        problem: Problem,
        config: OuterStepsConfig,
        seed: int,
        directory: Path,
        progress: Progress | None,
    ) -> tuple[Learning, dict[str, Any]]:
        """Take the steps that are missing; the run, and the record of its set.

        Raises:
          Diverged: the loss is not finite.
        """
        learning = self.begin(problem, config, seed)
        settings = {"method": self.procedure, **dataclasses.asdict(config)}
        resume = Resume(directory, problem.identity(settings, seed))
        if resume.found is not None:
            learning.restore(resume.found.tensors)
        while learning.done < learning.total:
            learning.step()
            if progress is not None:
                progress(learning.done, learning.total, {"loss": learning.loss})
            if resume.is_due or learning.done == learning.total:
                resume.save(learning.state())
        budget = {
            "outer_steps": learning.total,
            "outer_batch": config.outer_batch,
            "reduced": problem.is_reduced or config.is_reduced(len(problem.labels)),
        }
        record = {
            "step": learning.total,
            "seconds": resume.seconds,
            "budget": budget,
            "beside_network": {"budget": budget},
        }
        return learning, record

    def within(
        self, problem: Problem, config: OuterStepsConfig, seconds: float
    ) -> OuterStepsConfig:
        """See `Method.within`: as many outer steps as fit; the first one is not counted."""
        require_torch()
        learning = self.begin(problem, config, seed=0)
        learning.step()
        started = time.perf_counter()
        learning.step()
        fitting = int(seconds / (time.perf_counter() - started))
        steps = min(config.steps_for(len(problem.labels)), max(1, fitting))
        return dataclasses.replace(config, outer_steps=steps)

    def work(self, config: OuterStepsConfig) -> int:
        """See `Method.work`: the published budget, which has no number here, is the largest."""
        return (config.outer_steps or 1 << 30) * config.outer_batch

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        steps = self.config_type(1).steps_for(n_train)
        return f"{EPOCHS} epochs ({steps:,} outer steps), {OUTER_BATCH:,} natural images a step"
