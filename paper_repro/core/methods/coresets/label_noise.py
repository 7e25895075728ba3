"""Training labels of which some are replaced by another class."""

from __future__ import annotations

import numpy as np

from paper_repro.core.random import Purpose, generator


def flipped_labels(labels: np.ndarray, n_classes: int, share: float, seed: int) -> np.ndarray:
    """Labels of which a share, drawn without replacement, is another class, drawn uniformly.

    Args:
      labels: int (n,).
      n_classes: K.
      share: from 0 to below 1; `round(share * n)` labels change.
      seed: decides which, and to what.

    Returns:
      The labels, of their dtype; the array itself where none changes.

    Example:
      >>> given = np.zeros(10, int)
      >>> int((flipped_labels(given, 3, 0.2, seed=0) != given).sum())
      2
    """
    labels = np.asarray(labels)
    count = round(share * len(labels))
    if count == 0:
        return labels
    rng, changed = generator(seed, Purpose.LABELS), labels.copy()
    rows = rng.choice(len(labels), count, replace=False)
    changed[rows] = (labels[rows] + rng.integers(1, n_classes, count)) % n_classes
    return changed


def purity(given: np.ndarray, true: np.ndarray) -> float:
    """Fraction of labels that are right.

    Example:
      >>> purity(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
      0.75
    """
    return float(np.mean(given == true))
