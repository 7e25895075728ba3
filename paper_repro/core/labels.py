"""The scale of labels, one-hot minus 1/K, and class-balanced draws."""

from __future__ import annotations

import numpy as np

from paper_repro.core.errors import UserError


def centred_one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """One-hot minus 1/K: float64 (n, n_classes) whose rows sum to zero (arXiv 2107.13034).

    Args:
      labels: integer class numbers (n,).
      n_classes: K.

    Raises:
      UserError: a label outside 0..K-1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and not 0 <= labels.min() <= labels.max() < n_classes):
        raise UserError(
            f"labels must be a vector of class numbers 0..{n_classes - 1}, got shape "
            f"{labels.shape} with values {labels.min()}..{labels.max()}"
        )
    return np.eye(n_classes)[labels] - 1 / n_classes


SUM_TOLERANCE = 1e-3
"""How far a row may be from summing to 1, or to 0: float16 probabilities of 100 classes."""


def on_centred_scale(labels: np.ndarray) -> tuple[np.ndarray, str]:
    """Labels on the scale of one-hot minus 1/K, and what was done to them, in words.

    Rows that sum to 1 (one-hot, a softmax) lose 1/K; rows that sum to 0 are on that scale already;
    anything else cannot be told from its sums and is taken as it is.

    Args:
      labels: finite, (n, K).

    Returns:
      float64 (n, K), and the remark, empty where rows sum to 0.

    Example:
      >>> on_centred_scale(np.array([[0.9, 0.1]]))
      (array([[ 0.4, -0.4]]), 'the labels sum to 1 in every row: 1/2 is taken off each')
    """
    labels = np.asarray(labels, np.float64)
    sums, n_classes = labels.sum(1), labels.shape[1]
    if (np.abs(sums - 1) <= SUM_TOLERANCE).all():
        remark = f"the labels sum to 1 in every row: 1/{n_classes} is taken off each"
        return labels - 1 / n_classes, remark
    if (np.abs(sums) <= SUM_TOLERANCE).all():
        return labels, ""
    return labels, (
        f"the rows of the labels sum to {sums.min():.3g} at least and {sums.max():.3g} at most, "
        "not to 0 or 1: they are taken as they are"
    )


def is_centred_one_hot(labels: np.ndarray) -> bool:
    """Whether labels (n, n_classes) are one-hot minus 1/n_classes, to 1e-6: fixed, not learned."""
    fixed = centred_one_hot(labels.argmax(1), labels.shape[1])
    return bool(np.abs(labels - fixed).max() <= 1e-6)


class ClassBalancedSampler:
    """Draws the same number of images from every class, without replacement within a draw.

    Where the size does not divide by the number of classes, the first classes of a fresh random
    order get one more; where a class is too small for its share, all of it is taken.
    """

    def __init__(self, labels: np.ndarray, n_classes: int):
        self._rows = [np.flatnonzero(labels == c) for c in range(n_classes)]
        missing = [c for c, rows in enumerate(self._rows) if not len(rows)]
        if missing:
            raise UserError(
                f"no image of class {missing[0]}: a class-balanced draw needs every class"
            )

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Sorted row numbers, int64 (size,) or fewer where classes are too small."""
        share, extra = divmod(size, len(self._rows))
        order = rng.permutation(len(self._rows))
        counts = np.full(len(self._rows), share)
        counts[order[:extra]] += 1
        drawn = [
            rng.choice(rows, min(count, len(rows)), replace=False, shuffle=False)
            for rows, count in zip(self._rows, counts, strict=True)
        ]
        return np.sort(np.concatenate(drawn))

    def draw_per_class(self, per_class: int, rng: np.random.Generator) -> np.ndarray:
        """Row numbers ordered by class, int64 (n_classes * per_class,).

        Raises:
          UserError: a class has fewer than `per_class` images.
        """
        smallest = min(len(rows) for rows in self._rows)
        if not 1 <= per_class <= smallest:
            raise UserError(
                f"images per class must be between 1 and {smallest} (the smallest class), "
                f"not {per_class}"
            )
        return np.concatenate([rng.choice(rows, per_class, replace=False) for rows in self._rows])
