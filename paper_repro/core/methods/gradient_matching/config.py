"""The settings of DC and DSA, with the published values as defaults."""

from __future__ import annotations

import dataclasses
from typing import Literal

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import MethodConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec

ITERATIONS, REAL_BATCH = 1_000, 256
"""The published budget (arXiv 2006.05929, appendix)."""


@dataclasses.dataclass(frozen=True)
class MatchingConfig(MethodConfig):
    """Settings of DC (arXiv 2006.05929, Algorithm 1) and DSA (arXiv 2102.08259, Algorithm 1).

    Attributes:
      iterations: outer iterations, each with a new random network.
      real_batch: natural images a class whose gradient is matched.
      siamese: DSA: one random map a class and step, the same for both batches.
      initial: the images start as standard normal noise, or as natural images.
      matching_steps: updates of the images in an iteration; None for the published number: one
        at one image per class, as many as images up to ten, 50 at 50.
      network_epochs: passes of the network over the images between two updates; None for the
        published number: 1, 50 and 10 at 1, 10 and 50 images per class.
      learning_rate, momentum: of SGD on the images.
      network_rate: of SGD on the network, without momentum.
      network_batch: images a step of it at most.
      learner: the network whose gradients are matched.
    """

    iterations: int = ITERATIONS
    real_batch: int = REAL_BATCH
    siamese: bool = False
    initial: Literal["noise", "natural"] = "noise"
    matching_steps: int | None = None
    network_epochs: int | None = None
    learning_rate: float = 0.1
    momentum: float = 0.5
    network_rate: float = 0.01
    network_batch: int = 256
    learner: NetworkSpec = NetworkSpec()

    def __post_init__(self):
        super().__post_init__()
        for name in ("iterations", "real_batch", "matching_steps", "network_epochs"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")

    @property
    def loops(self) -> tuple[int, int]:
        """Updates of the images in an iteration, and epochs of the network between two."""
        published = ((1, 1), (10, 50), (50, 10))
        size = self.images_per_class
        steps, epochs = next((pair for pair in published if size <= pair[0]), published[-1])
        return self.matching_steps or steps, self.network_epochs or epochs
