"""Regularised ZCA as the official code of arXiv 2107.13034 has it, with its inverse.

On top of `Standard`, every image is flattened to x in R^d, centred by its own mean and divided
by its own norm ("layer norm"). With the uncentred covariance C = X^T X / n = U S U^T of the
training set and reg = regularisation * tr(C) / d, the whitened image is x W,
W = U (S + reg)^(-1/2) U^T. Everything is float64.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Self

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.transform import aligned_empty, blocks, checked, to_uint8

TINY = 1e-8
"""Images whose centred norm is below this count as constant and become zero."""

LARGEST = 16_384
"""Numbers in an image beyond which the matrix of the whitening is no use: 128 x 128 gray ones."""

Eigh = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class ZCA:
    """A fitted whitening.

    Attributes:
      standard: the channel standardisation under it.
      eigenvalues: S, float64 (d,), ascending.
      eigenvectors: U, float64 (d, d), one per column.
      regularisation: the lambda of the definition above.
      mean_norm: mean over the training images of the norm that the layer norm divides by.
    """

    standard: Standard
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    regularisation: float
    mean_norm: float

    @classmethod
    def fit(
        cls, images: np.ndarray, regularisation: float = 0.1, eigh: Eigh = np.linalg.eigh
    ) -> Self:
        """Fit on raw training images (n, H, W, C).

        Args:
          images: all of the training set; the paper's figures use all 50,000 of CIFAR-10.
          regularisation: lambda; 0.1 for CIFAR, 100 reported for SVHN.
          eigh: symmetric eigendecomposition of a float64 matrix.

        Raises:
          UserError: as `Standard.fit`, or a regularisation that is not positive.
        """
        if not (np.isfinite(regularisation) and regularisation > 0):
            raise UserError(f"the ZCA regularisation must be positive, not {regularisation}")
        standard = Standard.fit(images)
        require_whitenable(images.shape[1:])
        d = int(np.prod(images.shape[1:]))
        covariance = np.zeros((d, d))
        norms = 0.0
        for rows in blocks(len(images)):
            x, norm = layer_norm(standard.apply(images[rows], np.float64))
            covariance += x.T @ x
            norms += float(norm.sum())
        eigenvalues, eigenvectors = (np.asarray(a) for a in eigh(covariance / len(images)))
        # The covariance is positive semi-definite; rounding alone makes an eigenvalue negative.
        eigenvalues = np.maximum(eigenvalues, 0)
        return cls(standard, eigenvalues, eigenvectors, regularisation, norms / len(images))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See `Transform.image_shape`."""
        return self.standard.image_shape

    @property
    def ridge(self) -> float:
        """reg = lambda * tr(C) / d."""
        return self.regularisation * float(np.mean(self.eigenvalues))

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """See `Transform.tensors`."""
        return {
            **self.standard.tensors,
            "eigenvalues": self.eigenvalues,
            "eigenvectors": self.eigenvectors,
        }

    @property
    def settings(self) -> dict[str, str]:
        """See `Transform.settings`."""
        return {
            **self.standard.settings,
            "kind": "zca",
            "regularisation": repr(float(self.regularisation)),
            "mean_norm": repr(float(self.mean_norm)),
        }

    def apply(self, images: np.ndarray, dtype: str | np.dtype = "float32") -> np.ndarray:
        """See `Transform.apply`. An image that is constant once standardised becomes zero."""
        images = checked(images, self.image_shape)
        out = aligned_empty(images.shape, dtype)
        for rows in blocks(len(images)):
            x, _ = layer_norm(self.standard.apply(images[rows], np.float64))
            out[rows] = (x @ self._whitening).reshape(images[rows].shape)
        return out

    def invert(self, x: np.ndarray) -> np.ndarray:
        """The layer-normalised image, float64: invert(apply(r)) = (s - mean(s)) / max(norm, tiny).

        Here s is the standardised raw image; its own mean and norm are lost.
        """
        flat = np.asarray(x, np.float64).reshape(len(x), -1)
        return (flat @ self._colour).reshape(np.shape(x))

    def preview(self, x: np.ndarray) -> np.ndarray:
        """`invert`, scaled to the training set's mean norm and destandardised, as uint8."""
        return to_uint8(self.standard.invert(self.invert(x) * self.mean_norm))

    @functools.cached_property
    def _whitening(self) -> np.ndarray:
        return self._power(-0.5)

    @functools.cached_property
    def _colour(self) -> np.ndarray:
        """What takes the whitening back."""
        return self._power(0.5)

    def _power(self, exponent: float) -> np.ndarray:
        scaled = self.eigenvectors * (self.eigenvalues + self.ridge) ** exponent
        return scaled @ self.eigenvectors.T


def require_whitenable(image_shape: tuple[int, ...]) -> None:
    """Refuse images whose covariance would not fit into memory.

    Raises:
      UserError: more than `LARGEST` numbers in an image.
    """
    d = int(np.prod(image_shape))
    if d > LARGEST:
        raise UserError(
            f"ZCA of {image_shape} images needs a {d} x {d} matrix ({8e-9 * d * d:.0f} GB several "
            "times over): make the images smaller, or take standard preprocessing"
        )


def layer_norm(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre each image by its own mean and divide by its own L2 norm.

    Args:
      images: float64 (n, ...).

    Returns:
      (n, d) normalised features and the norms (n,) of the centred images; constant images give
      zeros.
    """
    x = images.reshape(len(images), -1)
    x = x - x.mean(1, keepdims=True)
    norm = np.linalg.norm(x, axis=1)
    constant = norm < TINY
    x /= np.where(constant, 1, norm)[:, None]
    x[constant] = 0
    return x, norm
