"""The intrinsic dimension of a set of images, by its two nearest neighbours (TwoNN)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from paper_repro.core.errors import UserError


class Dimension(NamedTuple):
    """An estimate with its bootstrap interval.

    Attributes:
      value: the dimension.
      low, high: its 95 % interval.
      n: images that it was made from.
    """

    value: float
    low: float
    high: float
    n: int


def log_ratios(images: np.ndarray) -> np.ndarray:
    """log(r2 / r1) of the distances from every image to its two nearest neighbours, float64 (n,).

    Facco et al. 2017 (doi 10.1038/s41598-017-11873-y): where the density is constant as far as the
    second neighbour, it is distributed exponentially with rate d, the dimension.

    Args:
      images: (n, ...) with n >= 3, no two the same; distances are Euclidean.

    Raises:
      UserError: fewer than three images, values that are not finite, or two equal images.
    """
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    if len(x) < 3:
        raise UserError(f"two neighbours of an image need at least 3 images, not {len(x)}")
    if not np.isfinite(x).all():
        raise UserError("the images have values that are not finite")
    squares = np.stack([((x - row) ** 2).sum(1) for row in x])
    np.fill_diagonal(squares, np.inf)
    nearest = np.sort(squares, axis=1)[:, :2]
    if not nearest[:, 0].all():
        raise UserError("two images are equal: the nearest neighbour must be at some distance")
    return 0.5 * np.log(nearest[:, 1] / nearest[:, 0])


def two_nn(images: np.ndarray, rng: np.random.Generator, resamples: int = 1_000) -> Dimension:
    """The dimension (n - 1) / sum(log(r2 / r1)), which has no bias in Facco's model.

    That is the maximum likelihood estimate n / sum times (n - 1) / n (Denti et al. 2022, doi
    10.1038/s41598-022-20991-1). The interval resamples the ratios, not the images, since a
    resampled image would be its own neighbour; it does not know that neighbours share distances.

    Args:
      images: see `log_ratios`.
      rng: draws the resamples.
      resamples: how many.

    Raises:
      UserError: see `log_ratios`; or all images have two neighbours at one distance.

    Example:
      >>> plane = np.random.default_rng(0).random((2_000, 2)) @ np.ones((2, 64))
      >>> round(two_nn(plane, np.random.default_rng(0)).value)
      1
    """
    ratios = log_ratios(images)
    if not ratios.any():
        raise UserError("every image has its two nearest neighbours at one distance")
    n = len(ratios)
    sums = ratios[rng.integers(n, size=(resamples, n))].sum(1)
    low, high = np.quantile((n - 1) / np.maximum(sums, np.finfo(float).tiny), (0.025, 0.975))
    return Dimension((n - 1) / float(ratios.sum()), float(low), float(high), n)
