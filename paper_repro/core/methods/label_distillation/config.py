"""The settings of LD, with the published values as defaults."""

from __future__ import annotations

import dataclasses

from paper_repro.core.errors import UserError
from paper_repro.core.methods.outer_steps import OuterStepsConfig


@dataclasses.dataclass(frozen=True)
class LabelDistillationConfig(OuterStepsConfig):
    """Settings of LD (arXiv 2006.08572, Algorithms 1 and 2); rates are chosen here.

    Attributes:
      outer_steps, outer_batch, learner: see `OuterStepsConfig`.
      ridge: the last layer is that of a ridge regression, in place of an inner step of gradient
        descent.
      base_batch: images of the set that a step uses at most.
      inner_rate: learning rate of the inner step; share of a batch's ridge solution in the last
        layer.
      label_rate: of Adam, for the labels.
      network_rate: of Adam, for the network.
      ridge_weight: weight of the squared norm in the ridge regression.
      patience: the network is drawn anew when the error of the outer batches, averaged over so
        many steps, has not fallen for as many.

    Example:
      >>> LabelDistillationConfig(10).steps_for(60_000)
      23600
    """

    ridge: bool = False
    base_batch: int = 50
    inner_rate: float = 0.01
    label_rate: float = 1e-3
    network_rate: float = 1e-3
    ridge_weight: float = 1.0
    patience: int = 50

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("base_batch", "patience")
        if not self.ridge_weight > 0:
            raise UserError(f"ridge_weight must be positive, not {self.ridge_weight}")
