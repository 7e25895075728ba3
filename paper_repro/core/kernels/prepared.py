"""Batches of images, as they are or with what a kernel has computed about each of them once."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.precision import precision

Array = Any
"""A NumPy or JAX array; a backend returns its own kind, and `np.asarray` reads either."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["images", "features"],
    meta_fields=["made_by"],
)
@dataclasses.dataclass(frozen=True)
class Prepared:
    """Images with what a kernel has computed about each of them once (norms, variances).

    Fixed targets are prepared before training; a step takes the rows of its batch. To JAX they are
    a pytree, an argument of a function under `jit`; the features of images that move are theirs of
    before, so differentiate with respect to images as they are.

    Attributes:
      images: float array (n, ...) of the kernel's dtype, in the shape they were given.
      features: arrays with leading axis n; their meaning belongs to the kernel that made them.
      made_by: that kernel, as far as the features depend on it; another one prepares anew.
    """

    images: np.ndarray
    features: tuple[np.ndarray, ...] = ()
    made_by: Hashable = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images, (n, ...)."""
        return self.images.shape

    def __getitem__(self, rows: slice | np.ndarray) -> Prepared:
        """The images and features of `rows` (a slice or an integer array), as NumPy indexes."""
        if not isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        features = tuple(_rows(f, rows) for f in self.features)
        return Prepared(_rows(self.images, rows), features, self.made_by)


def _rows(array: Array, rows: slice | np.ndarray) -> Array:
    if isinstance(array, np.ndarray):
        return array[rows]
    with precision(array.dtype):
        # JAX's own indexing checks bounds in a way that is slow for large rows.
        return array[rows] if isinstance(rows, slice) else jnp.take(array, rows, 0, mode="clip")


def images_of(x: Array | Prepared) -> Array:
    """The images of a possibly prepared argument."""
    return x.images if isinstance(x, Prepared) else x


def as_images(x: Any) -> Any:
    """`x` if it is an array or has images (a pool's have a shape too), else the array it lists.

    Raises:
      UserError: no array of real numbers comes of it.
    """
    array = images_of(x)
    if not isinstance(array, np.ndarray | jax.Array) and not hasattr(array, "image_shape"):
        x = array = _listed(array)
    dtype = getattr(array, "dtype", np.dtype("float32"))
    if not any(jnp.issubdtype(dtype, kind) for kind in (np.bool_, np.integer, np.floating)):
        raise UserError(
            f"images are arrays of real numbers, not of {dtype}: convert them to float32 or float64"
        )
    return x


def on_the_host(x: Any) -> Any:
    """`x`; CuPy's arrays, which NumPy may not read by itself, as NumPy's."""
    return x.get() if hasattr(x, "__cuda_array_interface__") and hasattr(x, "get") else x


def _listed(x: Any) -> Array:
    x = on_the_host(x)
    try:
        return np.asarray(x)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"no array of images can be made of a {type(x).__name__} ({error}): give an array "
            "(n, height, width, channels)"
        ) from error


def require_images(*arguments: Array | Prepared) -> None:
    """Check that arguments are batches of images of one shape.

    Raises:
      UserError: an argument has no batch axis, or the image shapes differ.
    """
    shapes = [tuple(np.shape(images_of(as_images(x)))) for x in arguments]
    if any(len(shape) < 2 for shape in shapes):
        raise UserError(f"expected batches of images (n, ...), got shapes {shapes}")
    if len({shape[1:] for shape in shapes}) > 1:
        raise UserError(f"images of one shape are needed, got {shapes}")
