"""LD as a method: its names in tables, and what it records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.methods.label_distillation.config import (
    EPOCHS,
    OUTER_BATCH,
    LabelDistillationConfig,
)
from paper_repro.core.methods.method import Method, Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.spec import Evaluation, NetworkSpec, require_torch
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.label_distillation import learning
else:
    learning = lazy.module("paper_repro.core.methods.label_distillation.learning")


class LD(Method):
    """Natural images with learned soft labels, by one inner step or by ridge regression."""

    procedure = "label_distillation"
    title = "LD"
    summary = "a few training images with soft labels (LD)"
    papers = ("2006.08572",)
    variants: Mapping[str, Mapping[str, Any]] = {"LD": {}, "LD (ridge)": {"ridge": True}}
    config_type = LabelDistillationConfig
    budget_fields = ("outer_steps", "outer_batch")
    option_fields = (
        *("base_batch", "inner_rate", "label_rate", "network_rate", "ridge_weight", "patience"),
        "learner",
    )
    learns_images = False
    uses_kernel = False
    whitens = False

    def run(
        self,
        problem: Problem,
        config: LabelDistillationConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `learning.run`."""
        require_torch()
        return learning.run(problem, config, seed, directory, progress)

    def recorded(self, config: LabelDistillationConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        fields = super().recorded(config)
        return fields if config.learner is None else {**fields, "learner": config.learner.recorded}

    def from_recorded(self, fields: Mapping[str, Any]) -> LabelDistillationConfig:
        """See `Method.from_recorded`."""
        learner = fields.get("learner")
        spec = None if learner is None else NetworkSpec(**learner)
        return super().from_recorded({**fields, "learner": spec})

    def evaluation(self, config: LabelDistillationConfig, dataset: str) -> Evaluation:
        """See `Method.evaluation`: the training of DC's evaluation, with LD's network and batch.

        The paper trains by Adam for a number of steps that validation images choose, and with the
        ridge regression where the labels were learned with it.
        """
        spec = config.learner or config.network_for(registry.channels(dataset))
        return Evaluation(spec, batch=config.base_batch)

    def tag(self, config: LabelDistillationConfig) -> str:
        """See `Method.tag`."""
        return "ld-ridge" if config.ridge else "ld"

    def learns_labels(self, config: LabelDistillationConfig) -> bool:
        """See `Method.learns_labels`."""
        return True

    def within(
        self, problem: Problem, config: LabelDistillationConfig, seconds: float
    ) -> LabelDistillationConfig:
        """See `Method.within`: as many outer steps as fit."""
        require_torch()
        fitting = int(seconds / learning.seconds_of_step(problem, config))
        steps = min(config.steps_for(len(problem.labels)), max(1, fitting))
        return dataclasses.replace(config, outer_steps=steps)

    def work(self, config: LabelDistillationConfig) -> int:
        """See `Method.work`: the published budget, which has no number here, is the largest."""
        return (config.outer_steps or 1 << 30) * config.outer_batch

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        steps = self.config_type(1).steps_for(n_train)
        return f"{EPOCHS} epochs ({steps:,} outer steps), {OUTER_BATCH:,} natural images a step"
