"""Other projects' preprocessing: constants, perhaps each image's own norm, then an affine map."""

from __future__ import annotations

import dataclasses

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.transform import aligned_empty, blocks, checked, to_uint8
from paper_repro.core.preprocess.zca import layer_norm


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """(x - centre) matrix, or x, of images that were standardised and perhaps brought to unit norm.

    Our own whitening is a `ZCA`; this is what a `recipe.Recipe` makes of another one.

    Attributes:
      standard: what the pixels are standardised with, constants in units of 0..255.
      unit_norm: every image is centred by its own mean and divided by its own norm.
      centre: float64 (d,), subtracted from the flattened (H, W, C) image.
      matrix: float64 (d, d); the output is the row vector times it. None, as then is `centre`,
        without a whitening.
      mean_norm: mean over the training images of the norm that was divided by; 1 without.
      name: what a release calls it.
      source: whose it is, and where that is written.

    Raises:
      UserError: `centre` or `matrix` is not of the images' size, or not finite.
    """

    standard: Standard
    unit_norm: bool
    centre: np.ndarray | None
    matrix: np.ndarray | None
    mean_norm: float
    name: str
    source: str

    def __post_init__(self):
        if self.matrix is None:
            return
        d = int(np.prod(self.image_shape))
        if self.centre.shape != (d,) or self.matrix.shape != (d, d):
            raise UserError(
                f"images {self.image_shape} need a mean of {d} numbers and a matrix ({d}, {d}), "
                f"not {self.centre.shape} and {self.matrix.shape}"
            )
        if not (np.isfinite(self.centre).all() and np.isfinite(self.matrix).all()):
            raise UserError("the mean or the matrix of the transform has NaN or infinite values")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """See `Transform.image_shape`."""
        return self.standard.image_shape

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """See `Transform.tensors`."""
        if self.matrix is None:
            return self.standard.tensors
        return {**self.standard.tensors, "centre": self.centre, "matrix": self.matrix}

    @property
    def settings(self) -> dict[str, str]:
        """See `Transform.settings`."""
        return {
            **self.standard.settings,
            "kind": "affine",
            "unit_norm": str(self.unit_norm).lower(),
            "mean_norm": repr(float(self.mean_norm)),
            "name": self.name,
            "source": self.source,
        }

    def apply(self, images: np.ndarray, dtype: str | np.dtype = "float32") -> np.ndarray:
        """See `Transform.apply`. With `unit_norm`, a constant image is zero before the map."""
        images = checked(images, self.image_shape)
        out = aligned_empty(images.shape, dtype)
        for rows in blocks(len(images)):
            x = self.standard.apply(images[rows], np.float64)
            x = layer_norm(x)[0] if self.unit_norm else x.reshape(len(x), -1)
            x = x if self.matrix is None else (x - self.centre) @ self.matrix
            out[rows] = x.reshape(images[rows].shape)
        return out

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Raw pixels, float64, or with `unit_norm` the normalised image, whose norm is lost.

        Where the matrix is singular, the smallest image that is mapped to `x`.
        """
        standardised = np.asarray(x, np.float64)
        if self.matrix is not None:
            flat = standardised.reshape(len(x), -1).T
            try:
                found = np.linalg.solve(self.matrix.T, flat)
            except np.linalg.LinAlgError:
                found = np.linalg.lstsq(self.matrix.T, flat, rcond=None)[0]
            standardised = (found.T + self.centre).reshape(np.shape(x))
        return standardised if self.unit_norm else self.standard.invert(standardised)

    def preview(self, x: np.ndarray) -> np.ndarray:
        """See `Transform.preview`; images of unit norm are scaled to the mean norm."""
        images = self.invert(x)
        if self.unit_norm:
            images = self.standard.invert(images * self.mean_norm)
        return to_uint8(images)
