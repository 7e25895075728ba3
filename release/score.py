"""KRR test accuracy of a released set, and how far it may be from what its record states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from paper_repro.core.data import Dataset
    from paper_repro.core.krr import Score
    from paper_repro.core.preprocess import Transform

SAME_IMAGES = 1e-3
"""Largest difference of an accuracy on the same test images: float32 kernels on other hardware."""

Z = 3.29
"""Standard errors allowed where the test images differ: one set in 1,000 fails wrongly."""


def score_set(
    images: np.ndarray,
    labels: np.ndarray,
    record: Mapping[str, Any],
    transform: Transform,
    data: Dataset,
    rows: np.ndarray | slice = slice(None),
) -> Score:
    """Accuracy and MSE (0.5 factor) by KRR with the record's kernel and ridge.

    Args:
      images: float32 (n, H, W, C), kernel inputs.
      labels: (n, K).
      record: names the architecture, the kernel and diag_reg.
      transform: for the raw test images.
      data: whose test images are predicted.
      rows: which of them; all by default.

    Raises:
      UserError: an unknown architecture.
    """
    from paper_repro.core.kernels import from_name
    from paper_repro.core.krr import predict, score
    from paper_repro.core.labels import centred_one_hot

    kernel_fn = from_name(record["architecture"], record["kernel"])
    x_test = transform.apply(data.x_test[rows])
    y_test = centred_one_hot(data.y_test[rows], data.n_classes)
    k_ss, k_ts = np.asarray(kernel_fn(images)), np.asarray(kernel_fn(x_test, images))
    return score(predict(k_ts, k_ss, labels, record["diag_reg"]), y_test)


def rows_to_score(n_stated: int, n_test: int | None) -> np.ndarray | slice:
    """The test images to score a stated accuracy again on.

    A record's accuracy is on the first `n_stated`. Fewer are spread evenly over these: the first
    thousands of a test set need not be like the rest (those of MNIST are harder).
    """
    if n_test is None or n_test >= n_stated:
        return slice(n_test or n_stated)
    return np.arange(n_test) * n_stated // n_test


def tolerance(stated: float, n_stated: int, n: int) -> float:
    """How far an accuracy on `n` test images may be from the `stated` one on `n_stated`.

    `SAME_IMAGES` where the numbers agree. Otherwise the smaller sample is part of the larger
    (`rows_to_score`), so the variance of the difference is
    p (1 - p) (1 / smaller - 1 / larger); `Z` of its standard errors are allowed.
    """
    smaller, larger = sorted((n, n_stated))
    # Wilson's centre keeps the variance away from zero at 0 and 100 %.
    p = (stated * n_stated + 2) / (n_stated + 4)
    return SAME_IMAGES + Z * math.sqrt(p * (1 - p) * (1 / smaller - 1 / larger))
