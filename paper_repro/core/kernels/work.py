"""What a pool evaluates, a block each: entries of a kernel and gradients, from images to arrays.

Images that are elsewhere are read here. Each function says by `shape_of` what shape its result has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np

from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.pool.held import RemoteImages, here
from paper_repro.core.kernels.prepared import Array, Prepared

Get = Literal["ntk", "nngp"]
"""The two kernels of a network."""


class Primitives(Protocol):
    """What a kernel offers for single blocks; see `kernel.Kernel`, which has the descriptions."""

    dtype: np.dtype
    block_pairs: int
    block_side: int
    gradient_cut: tuple[int, int]
    pool: Pool

    def transposes(self, n1: int, n2: int) -> bool: ...  # noqa: D102
    def prepare(self, x: Array) -> Prepared: ...  # noqa: D102
    def block(self, x1, x2, get: Get | None) -> Array: ...  # noqa: D102
    def block_vjp(self, x1, x2, cotangent: Array, get: Get | None) -> Array: ...  # noqa: D102
    def block_and_pullback(self, x1, x2, get: Get | None) -> tuple: ...  # noqa: D102
    def block_parameter_vjp(self, x1, x2, cotangent: Array) -> Mapping[str, float]: ...  # noqa: D102


def prepared(kernel: Primitives, x: Any) -> Prepared | RemoteImages:
    """`x`, which the kernel prepares unless it is prepared or elsewhere."""
    return x if isinstance(x, Prepared | RemoteImages) else kernel.prepare(x)


def one_block(kernel: Primitives, x1: Array, x2: Array | Prepared) -> np.ndarray:
    """k(x1, x2) in one block, of the kernel's own kind."""
    return entries(kernel, x1, x2, None, kernel.transposes(len(x1), len(x2)))


def entries(kernel, x1, x2, get, transposed) -> np.ndarray:
    """k(x1, x2), by the transpose where that is asked for."""
    x1, x2 = here(x1, x2)
    if transposed:
        return np.asarray(kernel.block(x2, x1, get)).T
    return np.asarray(kernel.block(x1, x2, get))


def block_and_pullback(kernel, x1, x2, get, transposed) -> tuple[np.ndarray, Callable]:
    """`entries`, and the function from a cotangent to the gradient of x1."""
    x1, x2 = here(x1, x2)
    x2 = prepared(kernel, x2)
    if transposed:
        k = entries(kernel, x1, x2, get, transposed)
        return k, lambda cotangent: kernel.block_vjp(x1, x2, cotangent, get)
    k, pullback = kernel.block_and_pullback(x1, x2, get)
    return np.asarray(k), pullback


def block(kernel, x1, x2, get, transposed) -> np.ndarray:
    """The first half of `block_and_pullback`, with its bits."""
    return block_and_pullback(kernel, x1, x2, get, transposed)[0]


def pulled(pullback: Callable[[Array], Array], cotangent: np.ndarray) -> np.ndarray:
    """The second half of `block_and_pullback`."""
    return np.asarray(pullback(cotangent))


def gradient(kernel, x1, x2, cotangent, get) -> np.ndarray:
    """Gradient of x1, for pools where the second half does not know of the first."""
    x1, x2 = here(x1, x2)
    return np.asarray(kernel.block_vjp(x1, x2, cotangent, get))


def parameter_gradient(kernel, x1, x2, cotangent) -> Mapping[str, float]:
    """Gradient of the kernel's parameters."""
    x1, x2 = here(x1, x2)
    return kernel.block_parameter_vjp(x1, x2, cotangent)


def _shape_of_block(kernel, x1, x2, *rest) -> tuple[int, int]:
    return len(x1), len(x2)


def _shape_of_gradient(kernel, x1, *rest) -> tuple[int, ...]:
    return x1.shape


entries.shape_of = block.shape_of = _shape_of_block
gradient.shape_of = _shape_of_gradient
