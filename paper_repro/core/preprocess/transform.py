"""What every transform offers, and how raw images are checked before one sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from paper_repro.core.data.arrays import plain_numbers
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
    """`images` if they are finite NHWC images (of `image_shape`), in a dtype of `plain_numbers`.

    Raises:
      UserError: wrong number of axes, another shape than fitted, a dtype that holds no numbers,
        NaN or infinite pixels.
    """
    images = plain_numbers(images, "the images")
    if images.ndim != 4:
        raise UserError(f"images must be NHWC with four axes, got shape {images.shape}")
    if image_shape is not None and images.shape[1:] != tuple(image_shape):
        raise UserError(
            f"this transform was fitted on images {tuple(image_shape)}, got {images.shape[1:]}"
        )
    if np.issubdtype(images.dtype, np.floating) and not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))[0])
        raise UserError(f"image {bad} has NaN or infinite pixels: remove or repair it")
    return images


SPREAD_RATIO = 25
"""Pixels whose spread is so much smaller or larger than the fitted images' are on another scale."""

_USUAL_PIXELS = 120.0, 63.0
"""Level and spread for a recipe without constants, which says nothing of them (CIFAR-10's)."""

_LOOKED_AT = 256
"""Images whose spread is measured: all images of one call are on one scale."""


def require_pixels(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, where: str = "the images"
) -> None:
    """Refuse images that are not raw pixels on the scale of those a transform was fitted on.

    Fractions, pixels in -1..1, standardised images and 16-bit pixels differ from pixels in 0..255
    by their spread; images that are all of one value cannot be told and pass.

    Args:
      images: (n, H, W, C), of `plain_numbers`.
      mean: per channel, of the fitted images' pixels.
      std: per channel.
      where: what the message calls the images.

    Raises:
      UserError: the spread differs by more than `SPREAD_RATIO`; says what to multiply by.
    """
    some = images[:_LOOKED_AT]
    if not some.size or (some.dtype == np.uint8 and some.max() > 1):
        return
    level, spread = float(some.mean(dtype=np.float64)), float(some.std(dtype=np.float64))
    usual_level, usual = float(np.mean(mean)), float(np.sqrt(np.mean(np.square(std))))
    if usual_level == 0:
        usual_level, usual = _USUAL_PIXELS
    if spread == 0 or usual / SPREAD_RATIO <= spread <= usual * SPREAD_RATIO:
        return
    advice = {
        "multiply them by 255": (255 * level, 255 * spread),
        "pass 127.5 * (images + 1)": (127.5 * (level + 1), 127.5 * spread),
        "they look standardised already, so they must not go through it again; multiply them by "
        "255 if they are fractions after all": (
            usual_level + usual * level,
            usual * spread,
        ),
        "multiply them by 1/257": (level / 257, spread / 257),
    }

    def distance(choice: str) -> float:
        moved, scaled = advice[choice]
        return abs(np.log(scaled / usual)) + abs(moved - usual_level) / usual

    raise UserError(
        f"{where} have a spread (standard deviation) of {spread:.3g}, those that the transform was "
        f"fitted on {usual:.3g}, so they are not pixels from 0 to 255: {min(advice, key=distance)}"
    )


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
