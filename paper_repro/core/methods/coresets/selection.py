"""Which images of one class a coreset keeps, by their features or by how they were forgotten.

Every step of herding and of k-center is one pass over the features (n, d): nothing of size n x n
is made. Ties go to the first row.
"""

from __future__ import annotations

import numpy as np

from paper_repro.core.errors import UserError


def herding(features: np.ndarray, count: int) -> np.ndarray:
    """Greedy choice whose mean stays closest to the mean of all (Welling, ICML 2009).

    Args:
      features: (n, d), of one class.
      count: how many are chosen.

    Returns:
      int64 (count,), in the order of choice: the first k are the choice of k.

    Raises:
      UserError: fewer than `count` rows.

    Example:
      >>> herding(np.array([[0.0], [1.0], [2.0], [5.0]]), 2)
      array([2, 1])
    """
    centred = _centred(features, count)
    lengths, total = np.square(centred).sum(1), np.zeros(centred.shape[1])
    chosen = np.empty(count, np.int64)
    for k in range(count):
        # |total + f|^2 without |total|^2, as the mean is zero.
        distances = lengths + 2 * (centred @ total)
        distances[chosen[:k]] = np.inf
        chosen[k] = distances.argmin()
        total += centred[chosen[k]]
    return chosen


def k_center(features: np.ndarray, count: int) -> np.ndarray:
    """Greedy k-center: each next image is the farthest from those chosen (Gonzalez, 1985).

    The first is the image nearest the mean. DC's figures with one image per class agree with that:
    k-center and herding are equal there (arXiv 2006.05929, table 1), and herding's first image is
    this one.

    Args:
      features: (n, d), of one class.
      count: how many are chosen.

    Returns:
      int64 (count,), in the order of choice: the first k are the choice of k.

    Raises:
      UserError: fewer than `count` rows.

    Example:
      >>> k_center(np.array([[0.0], [1.0], [2.0], [5.0]]), 3)
      array([2, 3, 0])
    """
    centred = _centred(features, count)
    lengths = np.square(centred).sum(1)
    chosen = np.empty(count, np.int64)
    chosen[0] = lengths.argmin()
    nearest = np.full(len(centred), np.inf)
    for k in range(1, count):
        last = chosen[k - 1]
        to_last = lengths + lengths[last] - 2 * (centred @ centred[last])
        nearest = np.minimum(nearest, to_last)
        nearest[last] = -np.inf
        chosen[k] = nearest.argmax()
    return chosen


def most_forgotten(
    counts: np.ndarray, learned: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """The images that a network forgot most often (Toneva et al., arXiv 1812.05159).

    Images that it never had right come first, as the authors count them as forgotten infinitely
    often. Equal ones are in random order.

    Args:
      counts: int (n,), how often the image went from right to wrong.
      learned: bool (n,), whether it was ever right.
      count: how many are chosen.
      rng: decides between equal ones.

    Returns:
      int64 (count,), the most forgotten first.

    Raises:
      UserError: fewer than `count` images.

    Example:
      >>> learned = np.array([True, True, False, True])
      >>> most_forgotten(np.array([0, 3, 0, 5]), learned, 3, np.random.default_rng(0))
      array([2, 3, 1])
    """
    _require(len(counts), count)
    often = np.where(learned, counts, np.inf)
    return np.lexsort((rng.random(len(counts)), -often))[:count]


def lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """Rows of the lowest scores, int64 (count,), the lowest first.

    Raises:
      UserError: fewer than `count` scores.
    """
    _require(len(scores), count)
    return np.argsort(scores, kind="stable")[:count]


def _centred(features: np.ndarray, count: int) -> np.ndarray:
    """Features minus their mean, float64."""
    _require(len(features), count)
    features = np.asarray(features, np.float64)
    return features - features.mean(0)


def _require(n: int, count: int) -> None:
    if not 1 <= count <= n:
        raise UserError(f"cannot choose {count} of {n} images: ask for 1 to {n}")
