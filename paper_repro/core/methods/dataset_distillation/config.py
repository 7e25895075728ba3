"""The settings of DD and SLDD, with the published values as defaults."""

from __future__ import annotations

import dataclasses
import math

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import MethodConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec, network_of_dd

EPOCHS, OUTER_BATCH = 400, 1_024
"""The published budget: passes over the training images, in batches of this size."""

HALVING_EPOCHS = 40
"""The learning rate of the images is halved every so many of the 400 epochs."""


@dataclasses.dataclass(frozen=True)
class DistillationConfig(MethodConfig):
    """Settings of DD (arXiv 1811.10959, Algorithm 1, random initialisations) and SLDD (1910.02551).

    `images_per_class` is the number of distilled steps, each of which has an image of every class.

    Attributes:
      outer_steps: updates of the images, each with a new random network; None for the published
        400 epochs.
      outer_batch: natural images whose loss is reduced.
      learn_labels: SLDD: labels are learned too. They start one-hot and weigh the classes in the
        cross entropy, without constraints.
      step_epochs: how often a network goes through the distilled steps.
      first_rate: learning rate of every step before it is learned; None for the published 0.02
        on gray images and 0.001 on images in colour.
      learning_rate: of Adam, for the images, the learning rates and the labels; it is halved every
        40 epochs, as many outer steps as the published run has there.
      learner: the network; None for LeNet on gray images and AlexCifarNet on images in colour,
        with Xavier's initialisation.

    Example:
      >>> DistillationConfig(10).steps_for(60_000)
      23600
    """

    outer_steps: int | None = None
    outer_batch: int = OUTER_BATCH
    learn_labels: bool = False
    step_epochs: int = 3
    first_rate: float | None = None
    learning_rate: float = 0.01
    learner: NetworkSpec | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("outer_steps", "outer_batch", "step_epochs"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        if self.first_rate is not None and not self.first_rate > 0:
            raise UserError(f"first_rate must be positive, not {self.first_rate}")

    def steps_for(self, n_train: int) -> int:
        """Outer steps with so many training images."""
        return self.outer_steps or EPOCHS * math.ceil(n_train / self.outer_batch)

    def rate_at(self, step: int, n_train: int) -> float:
        """The learning rate of an outer step, the first being 0."""
        epoch = step // math.ceil(n_train / self.outer_batch)
        return self.learning_rate * 0.5 ** (epoch // HALVING_EPOCHS)

    def network_for(self, channels: int) -> NetworkSpec:
        """The network for images of so many channels."""
        return self.learner or network_of_dd(channels, initial="xavier")

    def rate_for(self, channels: int) -> float:
        """The learning rate of a step before it is learned."""
        return self.first_rate or (0.02 if channels == 1 else 0.001)
