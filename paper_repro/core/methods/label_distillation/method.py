"""LD as a method: its names in tables, and what it records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.methods.label_distillation.config import LabelDistillationConfig
from paper_repro.core.methods.method import Progress
from paper_repro.core.methods.outer_steps import Learning, OuterSteps
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import keep
from paper_repro.core.network.pytorch.spec import Evaluation, require_torch
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.label_distillation import learning
else:
    learning = lazy.module("paper_repro.core.methods.label_distillation.learning")


class LD(OuterSteps):
    """Natural images with learned soft labels, by one inner step or by ridge regression."""

    procedure = "label_distillation"
    title = "LD"
    summary = "a few training images with soft labels (LD)"
    papers = ("2006.08572",)
    variants: Mapping[str, Mapping[str, Any]] = {"LD": {}, "LD (ridge)": {"ridge": True}}
    config_type = LabelDistillationConfig
    budget_fields = ("outer_steps", "outer_batch")
    learns_images = False
    uses_kernel = False
    whitens = False

    def begin(self, problem: Problem, config: LabelDistillationConfig, seed: int) -> Learning:
        """See `OuterSteps.begin`."""
        require_torch()
        return learning.LabelLearning(problem, config, seed)

    def run(
        self,
        problem: Problem,
        config: LabelDistillationConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`. Labels are those that sum to 1, minus 1/K."""
        learned, record = self.take_all(problem, config, seed, directory, progress)
        labels = learned.labels.astype(np.float64) - 1 / problem.n_classes
        keep(directory, learned.base, labels)
        return LearnedSet.of(learned.base, labels, record, classes=learned.classes)

    def evaluation(self, config: LabelDistillationConfig, dataset: str) -> Evaluation:
        """See `Method.evaluation`: the training of DC's evaluation, with LD's network and batch.

        The paper trains by Adam for a number of steps that validation images choose, and with the
        ridge regression where the labels were learned with it.
        """
        spec = config.network_for(registry.channels(dataset))
        return Evaluation(spec, batch=config.base_batch)

    def tag(self, config: LabelDistillationConfig) -> str:
        """See `Method.tag`."""
        return "ld-ridge" if config.ridge else "ld"

    def learns_labels(self, config: LabelDistillationConfig) -> bool:
        """See `Method.learns_labels`."""
        return True
