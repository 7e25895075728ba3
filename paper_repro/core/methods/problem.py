"""The fixed side of a KIP run: target images, how they are preprocessed, and held-out sets."""

from __future__ import annotations

import dataclasses

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.kernels.prepared import Prepared
from paper_repro.core.krr import Score, predict, score
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import Transform


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Images whose labels no gradient sees: the validation or the test set.

    Attributes:
      prepared: images as the kernel consumes them.
      y: centred labels, float64 (n, n_classes).
    """

    prepared: Prepared
    y: np.ndarray

    def score(
        self, kernel: Kernel, x_support: np.ndarray, y_support: np.ndarray, diag_reg: float
    ) -> Score:
        """KRR accuracy and MSE of a support set on these images."""
        k_st = kernel(x_support, self.prepared)
        k_ss = kernel(x_support)
        return score(predict(np.asarray(k_st).T, k_ss, y_support, diag_reg), self.y)


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


def held_out(
    kernel: Kernel, transform: Transform, images: np.ndarray, labels: np.ndarray, n_classes: int
) -> HeldOut:
    """Preprocess and prepare held-out raw images (n, H, W, C) with class numbers (n,)."""
    if len(images) != len(labels):
        raise UserError(f"{len(images)} images but {len(labels)} labels: they must match")
    y = centred_one_hot(labels, n_classes)
    return HeldOut(kernel.hold(transform.apply(images, kernel.dtype)), y)
