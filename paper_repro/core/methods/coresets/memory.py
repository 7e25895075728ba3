"""What is recorded of every training image while a network trains.

- forgetting: the image was right when it was last seen and is wrong now (Toneva et al.,
  arXiv 1812.05159);
- two loss buffers, of the given label and of the predicted class (`loss_scores`).
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass
class Memory:
    """What is recorded of every image; arrays of length n.

    Attributes:
      right: bool, as the image was last seen.
      learned: bool, whether it was ever right.
      forgotten: int64, how often it went from right to wrong.
      label_loss, predicted_loss: float64, sums over the epochs of its cross entropy under the
        given label and under the class with the largest logit; the last epoch weighs 1, each one
        before it `decay` of the next. `mean_losses` divides by the weights.

    Example:
      >>> memory = Memory.empty(1)
      >>> for right in (True, False, True, False):
      ...     memory.see(np.array([0]), np.array([right]), np.ones(1), np.zeros(1), 0.9)
      >>> memory.forgotten.tolist(), memory.learned.tolist()
      ([2], [True])
    """

    right: np.ndarray
    learned: np.ndarray
    forgotten: np.ndarray
    label_loss: np.ndarray
    predicted_loss: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Memory:
        """Of `n` images that were not seen yet."""
        flags, counts = np.zeros((2, n), bool), np.zeros(n, np.int64)
        return cls(*flags, counts, *np.zeros((2, n)))

    def see(
        self,
        rows: np.ndarray,
        right: np.ndarray,
        label_loss: np.ndarray,
        predicted_loss: np.ndarray,
        decay: float,
    ) -> None:
        """Record a batch; every image is seen once an epoch.

        Args:
          rows: int64 (m,), the images.
          right: bool (m,).
          label_loss, predicted_loss: (m,).
          decay: weight that an epoch's loss keeps after the next one.
        """
        self.forgotten[rows] += self.right[rows] & ~right
        self.learned[rows] |= right
        self.right[rows] = right
        self.label_loss[rows] = decay * self.label_loss[rows] + label_loss
        self.predicted_loss[rows] = decay * self.predicted_loss[rows] + predicted_loss

    def mean_losses(self, epochs: int, decay: float) -> tuple[np.ndarray, np.ndarray]:
        """The two loss buffers: weighted means of an image's losses, float64 (n,) each.

        Args:
          epochs: how often every image was seen.
          decay: as in `see`.
        """
        weight = sum(decay**k for k in range(epochs))
        return self.label_loss / weight, self.predicted_loss / weight
