"""Powers of two by which images and variances are multiplied so that their products stay in range.

The square of a float32 image of 1e-20 is 0 and that of one of 1e20 infinite, though kernel entries
and gradients are ordinary numbers. Multiplying by a power of two rounds nothing, so what is in
range anyway keeps its bits.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.kernels.prepared import Array, Prepared, images_of


def powers_of_two(variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`down` and `up = 1 / down`, so that a product of two `variance * down**2` is in range.

    Both are 1 unless a variance is near an end of its dtype's range.
    """
    exponent = jnp.finfo(variance.dtype).maxexp
    far, factor = 2.0 ** (exponent * 5 // 16), 2.0 ** (exponent // 4)
    large, small = variance > far, variance < 1 / far
    one = jnp.ones_like(variance)
    down = jnp.where(large, 1 / factor, jnp.where(small, factor, one))
    return down, jnp.where(large, factor, jnp.where(small, 1 / factor, one))


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Images divided by powers of two, for a kernel with k(a x, b y) = a b k(x, y) for a, b > 0.

    Attributes:
      x1, x2: images (n1, ...) and (n2, ...), the largest number of each between 1 and 4.
      exponents1, exponents2: int (n1,) and (n2,), those of the powers.
    """

    x1: np.ndarray
    x2: np.ndarray
    exponents1: np.ndarray
    exponents2: np.ndarray

    def entries(self, k: Array) -> np.ndarray:
        """Entries (n1, n2) of the images as they were, from those of `x1` and `x2`."""
        return _times_powers(k, self.exponents1[:, None] + self.exponents2)

    def cotangent(self, cotangent: Array) -> np.ndarray:
        """The cotangent whose gradient with respect to `x1` is that of the images as they were."""
        return _times_powers(cotangent, self.exponents2)


def scaled(x1: Array | Prepared, x2: Array | Prepared, dtype: np.dtype) -> Scaled | None:
    """Images in the middle of the range of `dtype`; None if all are well within it."""
    first = np.asarray(images_of(x1), dtype)
    second = first if x2 is x1 else np.asarray(images_of(x2), dtype)
    exponents1, exponents2 = _exponents(first), _exponents(second)
    if not (exponents1.any() or exponents2.any()):
        return None
    moved = _divided(first, exponents1)
    return Scaled(
        moved, moved if x2 is x1 else _divided(second, exponents2), exponents1, exponents2
    )


def _exponents(x: np.ndarray) -> np.ndarray:
    """Of the largest number of each image, (n,); 0 where it is ordinary, zero or not finite."""
    largest = np.max(np.abs(x), axis=tuple(range(1, x.ndim)), initial=0)
    usable = np.isfinite(largest) & (largest > 0)
    exponents = np.frexp(np.where(usable, largest, 1))[1] - 1
    limit = np.finfo(x.dtype).maxexp
    return np.where(np.abs(exponents) > limit // 8, exponents, 0)


def _divided(x: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return np.ldexp(x, -exponents.reshape(-1, *[1] * (x.ndim - 1)))


def _times_powers(values: Array, exponents: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.asarray(values), exponents)
