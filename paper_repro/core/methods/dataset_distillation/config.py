"""The settings of DD and SLDD, with the published values as defaults."""

from __future__ import annotations

import dataclasses
import math

from paper_repro.core.errors import UserError
from paper_repro.core.methods.outer_steps import OuterStepsConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec, network_of_dd

HALVING_EPOCHS = 40
"""The learning rate of the images is halved every so many of the 400 epochs."""


@dataclasses.dataclass(frozen=True)
class DistillationConfig(OuterStepsConfig):
    """Settings of DD (arXiv 1811.10959, Algorithm 1, random initialisations) and SLDD (1910.02551).

    `images_per_class` is the number of distilled steps, each of which has an image of every class.

    Attributes:
      outer_steps, outer_batch: see `OuterStepsConfig`; every step has a new random network.
      learner: see there; the default with Xavier's initialisation.
      learn_labels: SLDD: labels are learned too. They start one-hot and weigh the classes in the
        cross entropy, without constraints.
      step_epochs: how often a network goes through the distilled steps.
      first_rate: learning rate of every step before it is learned; None for the published 0.02
        on gray images and 0.001 on images in colour.
      learning_rate: of Adam, for the images, the learning rates and the labels; it is halved every
        40 epochs, which are so many outer steps as these batches take to see all images 40 times.

    Example:
      >>> DistillationConfig(10).steps_for(60_000)
      23600
    """

    learn_labels: bool = False
    step_epochs: int = 3
    first_rate: float | None = None
    learning_rate: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        self.require_positive("step_epochs")
        if self.first_rate is not None and not self.first_rate > 0:
            raise UserError(f"first_rate must be positive, not {self.first_rate}")

    def rate_at(self, step: int, n_train: int) -> float:
        """The learning rate of an outer step, the first being 0."""
        epoch = step // math.ceil(n_train / self.outer_batch)
        return self.learning_rate * 0.5 ** (epoch // HALVING_EPOCHS)

    def network_for(self, channels: int) -> NetworkSpec:
        """See `OuterStepsConfig.network_for`."""
        return self.learner or network_of_dd(channels, initial="xavier")

    def rate_for(self, channels: int) -> float:
        """The learning rate of a step before it is learned."""
        return self.first_rate or (0.02 if channels == 1 else 0.001)
