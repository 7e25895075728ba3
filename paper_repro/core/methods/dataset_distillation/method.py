"""DD and SLDD as a method: their names in tables, and what they record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.methods.dataset_distillation.config import (
    EPOCHS,
    OUTER_BATCH,
    DistillationConfig,
)
from paper_repro.core.methods.method import Method, Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.spec import (
    NetworkSpec,
    UnrolledEvaluation,
    require_torch,
)
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.dataset_distillation import distillation
else:
    distillation = lazy.module("paper_repro.core.methods.dataset_distillation.distillation")


class DD(Method):
    """Images and learning rates by which a few steps train a network."""

    procedure = "dataset_distillation"
    title = "DD"
    summary = "a few learned images with learning rates (DD, SLDD)"
    papers = ("1811.10959", "1910.02551")
    variants: Mapping[str, Mapping[str, Any]] = {"DD": {}, "SLDD": {"learn_labels": True}}
    config_type = DistillationConfig
    budget_fields = ("outer_steps", "outer_batch")
    option_fields = ("step_epochs", "first_rate", "learning_rate", "learner")
    uses_kernel = False
    whitens = False
    # A set's folder in `checkpoints/` has no place for the learning rates yet.
    is_exported = False

    def run(
        self,
        problem: Problem,
        config: DistillationConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `distillation.run`."""
        require_torch()
        return distillation.run(problem, config, seed, directory, progress)

    def recorded(self, config: DistillationConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        fields = super().recorded(config)
        return fields if config.learner is None else {**fields, "learner": config.learner.recorded}

    def from_recorded(self, fields: Mapping[str, Any]) -> DistillationConfig:
        """See `Method.from_recorded`."""
        learner = fields.get("learner")
        spec = None if learner is None else NetworkSpec(**learner)
        return super().from_recorded({**fields, "learner": spec})

    def evaluation(self, config: DistillationConfig, dataset: str) -> UnrolledEvaluation:
        """See `Method.evaluation`: with the network that the set was learned with."""
        spec = config.learner or config.network_for(registry.channels(dataset))
        return UnrolledEvaluation(spec)

    def tag(self, config: DistillationConfig) -> str:
        """See `Method.tag`."""
        return "sldd" if config.learn_labels else "dd"

    def learns_labels(self, config: DistillationConfig) -> bool:
        """See `Method.learns_labels`."""
        return config.learn_labels

    def within(
        self, problem: Problem, config: DistillationConfig, seconds: float
    ) -> DistillationConfig:
        """See `Method.within`: as many outer steps as fit."""
        require_torch()
        fitting = int(seconds / distillation.seconds_of_step(problem, config))
        steps = min(config.steps_for(len(problem.labels)), max(1, fitting))
        return dataclasses.replace(config, outer_steps=steps)

    def work(self, config: DistillationConfig) -> int:
        """See `Method.work`: the published budget, which has no number here, is the largest."""
        return (config.outer_steps or 1 << 30) * config.outer_batch

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        steps = self.config_type(1).steps_for(n_train)
        return f"{EPOCHS} epochs ({steps:,} outer steps), {OUTER_BATCH:,} natural images a step"
