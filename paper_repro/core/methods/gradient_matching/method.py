"""DC and DSA as a method: their names in tables, and what they record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.methods.gradient_matching.config import (
    ITERATIONS,
    REAL_BATCH,
    MatchingConfig,
)
from paper_repro.core.methods.method import Method, Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.spec import (
    Evaluation,
    published_evaluation,
    require_torch,
)
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.gradient_matching import matching
else:
    matching = lazy.module("paper_repro.core.methods.gradient_matching.matching")


class DC(Method):
    """Images on which a network has the gradients that it has on natural images."""

    procedure = "gradient_matching"
    title = "DC"
    summary = "a few images learned by matching gradients (DC, DSA)"
    papers = ("2006.05929", "2102.08259")
    variants: Mapping[str, Mapping[str, Any]] = {
        "DC": {},
        "DSA": {"siamese": True, "initial": "natural"},
    }
    config_type = MatchingConfig
    budget_fields = ("iterations", "real_batch")
    uses_kernel = False
    whitens = False

    def run(
        self,
        problem: Problem,
        config: MatchingConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `matching.run`."""
        require_torch()
        return matching.run(problem, config, seed, directory, progress)

    def evaluation(self, config: MatchingConfig, dataset: str) -> Evaluation:
        """See `Method.evaluation`."""
        return published_evaluation(dataset, config.siamese, config.learner)

    def tag(self, config: MatchingConfig) -> str:
        """See `Method.tag`."""
        return "dsa" if config.siamese else "dc"

    def augments(self, config: MatchingConfig) -> bool:
        """See `Method.augments`."""
        return config.siamese

    def within(self, problem: Problem, config: MatchingConfig, seconds: float) -> MatchingConfig:
        """See `Method.within`: as many iterations as fit."""
        require_torch()
        iterations = int(seconds / matching.seconds_of_iteration(problem, config))
        return dataclasses.replace(config, iterations=min(config.iterations, max(1, iterations)))

    def work(self, config: MatchingConfig) -> int:
        """See `Method.work`."""
        return config.iterations * config.real_batch

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        return f"{ITERATIONS:,} iterations, {REAL_BATCH} natural images a class"
