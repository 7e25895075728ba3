"""DD and SLDD as a method: their names in tables, and what they record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.methods.dataset_distillation.config import DistillationConfig
from paper_repro.core.methods.method import Progress
from paper_repro.core.methods.outer_steps import Learning, OuterSteps
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import keep
from paper_repro.core.network.pytorch.spec import UnrolledEvaluation, require_torch
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.dataset_distillation import distillation
else:
    distillation = lazy.module("paper_repro.core.methods.dataset_distillation.distillation")


class DD(OuterSteps):
    """Images and learning rates by which a few steps train a network."""

    procedure = "dataset_distillation"
    title = "DD"
    summary = "a few learned images with learning rates (DD, SLDD)"
    papers = ("1811.10959", "1910.02551")
    variants: Mapping[str, Mapping[str, Any]] = {"DD": {}, "SLDD": {"learn_labels": True}}
    config_type = DistillationConfig
    budget_fields = ("outer_steps", "outer_batch")
    uses_kernel = False
    whitens = False
    # A set's folder in `checkpoints/` has no place for the learning rates yet.
    is_exported = False

    def begin(self, problem: Problem, config: DistillationConfig, seed: int) -> Learning:
        """See `OuterSteps.begin`."""
        require_torch()
        return distillation.Distillation(problem, config, seed)

    def run(
        self,
        problem: Problem,
        config: DistillationConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`.

        The images of a class are those of the distilled steps, in order. The learning rates,
        float32 (epochs, steps), are the tensor `rates` of the file and `extra["rates"]` of the
        record.
        """
        learning, record = self.take_all(problem, config, seed, directory, progress)
        images, labels, rates = learning.arrays
        keep(directory, images, labels, rates=rates)
        extra = {"rates": [[float(rate) for rate in epoch] for epoch in rates]}
        return LearnedSet.of(images, labels, {**record, "extra": extra})

    def evaluation(self, config: DistillationConfig, dataset: str) -> UnrolledEvaluation:
        """See `Method.evaluation`: with the network that the set was learned with."""
        spec = config.network_for(registry.channels(dataset))
        return UnrolledEvaluation(spec)

    def tag(self, config: DistillationConfig) -> str:
        """See `Method.tag`."""
        return "sldd" if config.learn_labels else "dd"

    def learns_labels(self, config: DistillationConfig) -> bool:
        """See `Method.learns_labels`."""
        return config.learn_labels
