"""Standard preprocessing: per-channel mean and standard deviation of the training images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.transform import (
    aligned_empty,
    blocks,
    checked,
    require_pixels,
    to_uint8,
)

if TYPE_CHECKING:
    from paper_repro.core.preprocess import compiled
else:
    compiled = lazy.module("paper_repro.core.preprocess.compiled")


@dataclasses.dataclass(frozen=True, eq=False)
class Standard:
    """(x - mean) / std per channel; `invert` is exact up to rounding.

    Attributes:
      mean: float64 (C,), of raw pixels 0..255.
      std: float64 (C,).
      image_shape: (H, W, C).
    """

    mean: np.ndarray
    std: np.ndarray
    image_shape: tuple[int, int, int]

    @classmethod
    def fit(cls, images: np.ndarray) -> Self:
        """Fit on raw training images (n, H, W, C), in float64.

        Raises:
          UserError: not NHWC, not finite, or a channel that is constant over the whole set.
        """
        images = checked(images)
        n_pixels = images[..., 0].size
        total, total_squared = np.zeros(images.shape[-1]), np.zeros(images.shape[-1])
        for rows in blocks(len(images)):
            block = images[rows].astype(np.float64)
            total += block.sum((0, 1, 2))
            total_squared += (block * block).sum((0, 1, 2))
        mean = total / n_pixels
        variance = total_squared / n_pixels - mean**2
        if not (variance > 1e-12).all():
            raise UserError(
                f"channel {int(np.argmin(variance))} is constant over all training images: "
                "nothing to standardise"
            )
        return cls(mean, np.sqrt(variance), images.shape[1:])

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """See `Transform.tensors`."""
        return {"mean": self.mean, "std": self.std}

    @property
    def settings(self) -> dict[str, str]:
        """See `Transform.settings`."""
        return {"kind": "standard", "image_shape": "x".join(map(str, self.image_shape))}

    def apply(self, images: np.ndarray, dtype: str | np.dtype = "float32") -> np.ndarray:
        """See `Transform.apply`."""
        images = checked(images, self.image_shape)
        require_pixels(images, self.mean, self.std)
        n_pixels = self.image_shape[0] * self.image_shape[1]
        flat = np.ascontiguousarray(images).reshape(len(images), -1)
        out = aligned_empty(flat.shape, dtype)
        compiled.standardise(flat, np.tile(self.mean, n_pixels), np.tile(self.std, n_pixels), out)
        return out.reshape(images.shape)

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Raw pixel values, float64, neither rounded nor clipped."""
        return np.asarray(x, np.float64) * self.std + self.mean

    def preview(self, x: np.ndarray) -> np.ndarray:
        """See `Transform.preview`."""
        return to_uint8(self.invert(x))
