"""The settings of LD, with the published values as defaults."""

from __future__ import annotations

import dataclasses
import math

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import MethodConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec, network_of_dd

EPOCHS, OUTER_BATCH = 400, 1_024
"""The published budget: passes over the training images, in batches of this size."""


@dataclasses.dataclass(frozen=True)
class LabelDistillationConfig(MethodConfig):
    """Settings of LD (arXiv 2006.08572, Algorithms 1 and 2); rates are chosen here.

    Attributes:
      outer_steps: updates of the labels; None for the published 400 epochs.
      outer_batch: natural images whose loss is reduced.
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
      learner: the network; None for LeNet on gray images and AlexCifarNet on images in colour.

    Example:
      >>> LabelDistillationConfig(10).steps_for(60_000)
      23600
    """

    outer_steps: int | None = None
    outer_batch: int = OUTER_BATCH
    ridge: bool = False
    base_batch: int = 50
    inner_rate: float = 0.01
    label_rate: float = 1e-3
    network_rate: float = 1e-3
    ridge_weight: float = 1.0
    patience: int = 50
    learner: NetworkSpec | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("outer_steps", "outer_batch", "base_batch", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        if not self.ridge_weight > 0:
            raise UserError(f"ridge_weight must be positive, not {self.ridge_weight}")

    def steps_for(self, n_train: int) -> int:
        """Outer steps with so many training images."""
        return self.outer_steps or EPOCHS * math.ceil(n_train / self.outer_batch)

    def network_for(self, channels: int) -> NetworkSpec:
        """The network for images of so many channels."""
        return self.learner or network_of_dd(channels)
