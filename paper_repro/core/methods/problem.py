"""The fixed side of a run: target images, how they are preprocessed, and held-out sets."""

from __future__ import annotations

import dataclasses

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import Transform
from paper_repro.core.sets.scoring import HeldOut


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Everything that KIP and LS know about a data set.

    Attributes:
      x_target: raw training images (n, H, W, C) that serve as targets and initial supports.
      labels: their class numbers (n,).
      n_classes: K.
      transform: from raw images to kernel inputs.
      validation: held-out training images, or None.
      test: the test set, or None.
    """

    x_target: np.ndarray
    labels: np.ndarray
    n_classes: int
    transform: Transform
    validation: HeldOut | None = None
    test: HeldOut | None = None

    def __post_init__(self):
        if len(self.x_target) != len(self.labels):
            raise UserError(
                f"{len(self.x_target)} target images but {len(self.labels)} labels: they must match"
            )

    @property
    def y_target(self) -> np.ndarray:
        """Centred labels of the targets, float64 (n, n_classes)."""
        return centred_one_hot(self.labels, self.n_classes)
