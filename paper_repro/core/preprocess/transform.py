"""What every transform offers, and how raw images are checked before one sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_content

BLOCK = 2_000
"""Images per block: float64 copies of 2,000 CIFAR images take 49 MB."""


class Transform(Protocol):
    """A fitted, frozen map between raw images (0..255, NHWC) and kernel inputs."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images it takes."""

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The fitted arrays by name, float64; with `settings` they determine the transform."""

    @property
    def settings(self) -> dict[str, str]:
        """Its kind and scalar settings, as strings."""

    def apply(self, images: np.ndarray, dtype: str | np.dtype = "float32") -> np.ndarray:
        """Kernel inputs (n, H, W, C) of raw images; computed in float64, then cast to `dtype`."""

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Undo `apply` as far as it can be undone, float64; each class says what is lost."""

    def preview(self, x: np.ndarray) -> np.ndarray:
        """uint8 images (n, H, W, C) for people to look at."""


def checked(images: np.ndarray, image_shape: tuple[int, ...] | None = None) -> np.ndarray:
    """`images` if they are finite NHWC images (of `image_shape`).

    Raises:
      UserError: wrong number of axes, another shape than fitted, NaN or infinite pixels.
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise UserError(f"images must be NHWC with four axes, got shape {images.shape}")
    if image_shape is not None and images.shape[1:] != tuple(image_shape):
        raise UserError(
            f"this transform was fitted on images {tuple(image_shape)}, got {images.shape[1:]}"
        )
    if not np.issubdtype(images.dtype, np.number):
        raise UserError(f"images must be numbers, got dtype {images.dtype}")
    if np.issubdtype(images.dtype, np.floating) and not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))[0])
        raise UserError(f"image {bad} has NaN or infinite pixels: remove or repair it")
    return images


def is_fraction(images: np.ndarray) -> bool:
    """Whether images are floats in 0..1, not all 0, as pixels divided by 255 are."""
    if not np.issubdtype(images.dtype, np.floating) or not images.size:
        return False
    return 0 < images.max() <= 1 and images.min() >= 0


def blocks(n: int) -> Iterator[slice]:
    """Slices of at most BLOCK that cover range(n)."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def aligned_empty(shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
    """Uninitialised array at a 64-byte boundary, which JAX on a CPU takes without a copy."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Round and clip to 0..255."""
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def digest(transform: Transform) -> str:
    """Hex SHA-256 over the settings and the bytes of every fitted array, in name order."""
    return sha256_of_content(transform.settings, transform.tensors)
