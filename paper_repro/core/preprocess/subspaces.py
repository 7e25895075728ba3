"""Linear subspaces of images: principal components, and discriminants with them.

Both come from two moments of the training images, so that a set of 60,000 is passed over once. The
discriminants are Fisher's: directions along which class means differ most against the scatter
within classes. They are computed within the first principal components (Belhumeur et al., 1997),
where that scatter can be inverted: pixels at the border are constant.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from paper_repro.core.errors import UserError

WITHIN = 100
"""Principal components in which the discriminants are computed, at most."""

_BLOCK, _NEGLIGIBLE = 4_096, 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Moments of flattened images.

    Attributes:
      mean: float64 (d,).
      covariance: float64 (d, d), of all, divided by n.
      between: float64 (d, d), that of the class means, each weighted by its number of images.
      n_classes: K.
    """

    mean: np.ndarray
    covariance: np.ndarray
    between: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, x: np.ndarray, labels: np.ndarray, n_classes: int) -> Self:
        """Those of images.

        Args:
          x: (n, ...), any float dtype.
          labels: class numbers (n,).
          n_classes: K.

        Raises:
          UserError: a class without an image.
        """
        counts = np.bincount(labels, minlength=n_classes)
        if not counts.all():
            raise UserError(f"no image of class {int(counts.argmin())}: subspaces need every class")
        flat = x.reshape(len(x), -1)
        mean = flat.mean(0, dtype=np.float64)
        covariance = np.zeros((len(mean), len(mean)))
        sums = np.zeros((n_classes, len(mean)))
        for first in range(0, len(flat), _BLOCK):
            rows = slice(first, first + _BLOCK)
            block = flat[rows].astype(np.float64) - mean
            covariance += block.T @ block
            sums += np.eye(n_classes)[labels[rows]].T @ block
        means = sums / counts[:, None]
        between = (means.T * (counts / len(flat))) @ means
        return cls(mean, covariance / len(flat), between, n_classes)


@dataclasses.dataclass(frozen=True, eq=False)
class Subspace:
    """An affine subspace of images.

    Attributes:
      mean: float64 (d,).
      basis: float64 (d, k), orthonormal columns.
    """

    mean: np.ndarray
    basis: np.ndarray

    def rebuilt(self, x: np.ndarray) -> np.ndarray:
        """The nearest points of the subspace, float64, of the shape of `x` (n, ...)."""
        centred = x.reshape(len(x), -1) - self.mean
        return (self.mean + (centred @ self.basis) @ self.basis.T).reshape(x.shape)

    def error(self, x: np.ndarray) -> float:
        """The squared distance of images from the subspace over that from the mean, 0 to 1."""
        lost = np.square(x - self.rebuilt(x)).sum()
        return float(lost / np.square(x.reshape(len(x), -1) - self.mean).sum())

    def expected_error(self, moments: Moments) -> float:
        """That of the images with these moments."""
        kept = np.sum(self.basis * (moments.covariance @ self.basis))
        return float(1 - kept / np.trace(moments.covariance))


def principal(moments: Moments, components: int) -> Subspace:
    """The mean and the directions of largest variance.

    Args:
      moments: those of the training images.
      components: how many directions.

    Raises:
      UserError: fewer than 1 or more than there are dimensions.

    Example:
      >>> x = np.array([[-2.0, 0.1], [2.0, 0.1], [-2.0, -0.1], [2.0, -0.1]])
      >>> line = principal(Moments.of(x, np.array([0, 0, 1, 1]), 2), 1)
      >>> line.rebuilt(np.array([[3.0, 5.0]])).round(6) + 0.0
      array([[3., 0.]])
    """
    _require(moments, components)
    return Subspace(moments.mean, _largest(moments.covariance, components))


def discriminant(moments: Moments, components: int) -> Subspace:
    """The mean, the K - 1 discriminants, then the directions of largest variance beside them.

    Args:
      moments: those of the training images.
      components: how many directions; fewer than K take the first discriminants alone.

    Raises:
      UserError: fewer than 1 or more than there are dimensions.

    Example:
      >>> x = np.array([[-2.0, 0.1], [2.0, 0.1], [-2.0, -0.1], [2.0, -0.1]])
      >>> line = discriminant(Moments.of(x, np.array([0, 0, 1, 1]), 2), 1)
      >>> line.rebuilt(np.array([[3.0, 5.0]])).round(6) + 0.0
      array([[0., 5.]])
    """
    _require(moments, components)
    values, vectors = np.linalg.eigh(moments.covariance)
    inside = vectors[:, values > _NEGLIGIBLE * values[-1]][:, ::-1][:, :WITHIN]
    between = inside.T @ moments.between @ inside
    within = inside.T @ moments.covariance @ inside - between
    within += _NEGLIGIBLE * np.trace(within) / len(within) * np.eye(len(within))
    # Where the scatter within classes is the identity, they are principal components of the means.
    whitening = np.linalg.inv(np.linalg.cholesky(within))
    first = min(components, moments.n_classes - 1, len(within))
    directions = whitening.T @ _largest(whitening @ between @ whitening.T, first)
    basis, _ = np.linalg.qr(inside @ directions)
    if components > first:
        beside = np.eye(len(basis)) - basis @ basis.T
        rest = _largest(beside @ moments.covariance @ beside, components - first)
        basis, _ = np.linalg.qr(np.concatenate([basis, rest], 1))
    return Subspace(moments.mean, basis)


def _largest(matrix: np.ndarray, count: int) -> np.ndarray:
    """Eigenvectors (d, count) of the largest eigenvalues, the largest first."""
    _, vectors = np.linalg.eigh(matrix)
    return vectors[:, ::-1][:, :count]


def _require(moments: Moments, components: int) -> None:
    d = len(moments.mean)
    if not 1 <= components <= d:
        raise UserError(f"components must be between 1 and {d}, not {components}")
