"""DD's own score of a set: networks that are trained by the steps the set was learned for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.network.pytorch.spec import UnrolledEvaluation, require_torch
from paper_repro.core.runs.scorers import Scoring, tested
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.network.pytorch import unrolled
else:
    unrolled = lazy.module("paper_repro.core.network.pytorch.unrolled")

NETWORKS_PER_NETWORK = 10
"""Networks of this score for one of the published evaluation of DC, which takes far longer."""


@dataclasses.dataclass(frozen=True)
class UnrolledNetworks:
    """Networks trained by a set's learned steps and learning rates, each tested at its end.

    Attributes:
      evaluation: the networks.
    """

    algorithm: ClassVar[str] = "NN"
    uses_kernel: ClassVar[bool] = False
    evaluation: UnrolledEvaluation = UnrolledEvaluation()

    @classmethod
    def within(cls, evaluation: UnrolledEvaluation, budget: Any = None) -> UnrolledNetworks:
        """The scorer at a budget.

        Args:
          evaluation: the published one.
          budget: a `Preset`: ten times its `networks` are trained; None for the published number.
        """
        if budget is not None:
            networks = NETWORKS_PER_NETWORK * budget.networks
            evaluation = dataclasses.replace(evaluation, networks=networks)
        return cls(evaluation)

    @property
    def recorded(self) -> dict[str, Any]:
        """See `Scorer.recorded`."""
        return {"unrolled": self.evaluation.recorded}

    @property
    def row_fields(self) -> dict[str, Any]:
        """See `Scorer.row_fields`: rows name the network, and no kernel."""
        return {"architecture": self.evaluation.network.name, "kernel": None}

    @property
    def match(self) -> dict[str, Any]:
        """See `Scorer.match`: the options of the network."""
        return {"config.unrolled.network": [self.evaluation.network.recorded]}

    def score(self, learned: LearnedSet, of: Scoring) -> dict[str, Any]:
        """See `Scorer.score`.

        Raises:
          UserError: the record of the set has no learning rates.
          Diverged: see `unrolled.evaluate`.
        """
        require_torch()
        extra, dataset = learned.record.get("extra", {}), of.data.dataset
        if "rates" not in extra:
            raise UserError(
                "the set has no learned learning rates, which this score trains with: score it by "
                "the published evaluation, or learn it by DD"
            )
        found = unrolled.evaluate(
            self.evaluation,
            learned.images,
            learned.labels,
            np.asarray(extra["rates"], np.float32),
            of.data.test_images,
            dataset.y_test,
            of.seed,
            of.directory,
            of.report,
        )
        return tested(found, learned, len(dataset.y_test), {}, self.evaluation.is_reduced)
