"""The one owner of the split into blocks: whole matrices, their gradients, and KIP's step.

Everything larger than a block is put together here: blocks are cut by row number, evaluated by the
kernel's pool, and added up in the order in which they were cut. So memory is bounded, there is
progress on the way, and pools of the same `block_rows` give the same bits. Backends see single
blocks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.pool.held import HeldImages, here
from paper_repro.core.kernels.prepared import Array, Prepared, require_images
from paper_repro.core.kernels.tracing import require_concrete, require_outside_jit

Get = Literal["ntk", "nngp"]
"""The two kernels of a network."""

Progress = Callable[[int, int], None]
"""Called with the number of pairs done and the total after every block."""

Images = Array | Prepared | HeldImages
"""A batch of images (n, ...): an array, prepared, or held by a pool."""

_MIN_COLUMNS = 64


class Primitives(Protocol):
    """What a kernel offers for single blocks; see `kernel.Kernel`, which has the descriptions."""

    dtype: np.dtype
    block_pairs: int
    block_side: int
    pool: Pool

    def transposes(self, n1: int, n2: int) -> bool: ...  # noqa: D102
    def prepare(self, x: Array) -> Prepared: ...  # noqa: D102
    def block(self, x1, x2, get: Get | None) -> Array: ...  # noqa: D102
    def block_vjp(self, x1, x2, cotangent: Array, get: Get | None) -> Array: ...  # noqa: D102
    def block_and_pullback(self, x1, x2, get: Get | None) -> tuple: ...  # noqa: D102
    def block_parameter_vjp(self, x1, x2, cotangent: Array) -> Mapping[str, float]: ...  # noqa: D102


def kernel_matrix(
    kernel: Primitives,
    x1: Images,
    x2: Images | None = None,
    get: Get | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The whole matrix k(x1, x2), or the self kernel of x1 from its upper blocks.

    Rows are prepared once per row of blocks, columns per block, so beyond the result the memory
    is that of one block, about `kernel.block_pairs` entries.

    Args:
      kernel: any kernel.
      x1: images (n1, ...), or prepared ones.
      x2: images (n2, ...), or prepared ones; None for x1.
      get: as for `Kernel.block`.
      progress: called as progress(pairs done, pairs in all).

    Returns:
      (n1, n2) NumPy array of the kernel's dtype.

    Raises:
      UserError: the images are not of one shape, or JAX traces them.
    """
    require_concrete(x1, x2)
    symmetric = x2 is None
    x2 = x1 if symmetric else x2
    require_images(x1, x2)
    n1, n2 = len(x1), len(x2)
    n_rows, n_columns = _block_shape(kernel, n1, n2)
    if symmetric:
        n_columns = n_rows = max(1, min(n1, int(kernel.block_pairs**0.5)))
    transposed = not symmetric and kernel.transposes(n1, n2)
    places = [
        (rows, columns)
        for rows in _slices(n1, n_rows)
        for columns in _slices(n2, n_columns)
        if not symmetric or columns.start >= rows.start
    ]
    # A row of one block alone may as well be prepared where the block is evaluated.
    prepare = kernel.pool.shares_memory or n_columns < n2

    def blocks() -> Iterator[tuple]:
        at = None
        for rows, columns in places:
            if rows != at:
                at, left = rows, x1[rows]
                left = _prepared(kernel, left) if prepare else left
            right = left if symmetric and columns == rows else x2[columns]
            yield kernel, left, right, get, transposed

    out = np.empty((n1, n2), kernel.dtype)
    done = 0
    for (rows, columns), block in zip(places, kernel.pool.map(_entries, blocks()), strict=True):
        out[rows, columns] = block
        done += block.size
        if symmetric and columns != rows:
            out[columns, rows] = block.T
            done += block.size
        if progress is not None:
            progress(done, n1 * n2)
    return out


def kernel_vjp(
    kernel: Primitives,
    x1: Images,
    x2: Images | None,
    cotangent: Array,
    get: Get | None = None,
    argument: int = 1,
    progress: Progress | None = None,
) -> np.ndarray:
    """Gradient of `sum(cotangent * kernel_matrix(x1, x2))` with respect to one argument.

    With x2 None the matrix is the self kernel and both of its arguments move.

    Raises:
      UserError: `argument` is neither 1 nor 2, the cotangent does not fit, or JAX traces an array.
    """
    require_concrete(x1, x2, cotangent)
    if argument not in (1, 2):
        raise UserError(f"argument is 1 or 2, the argument to differentiate, not {argument}")
    require_images(x1, *(() if x2 is None else (x2,)))
    shape = (len(x1), len(x1 if x2 is None else x2))
    cotangent = _fitting(cotangent, kernel.dtype, shape)
    if x2 is None:
        x2, cotangent = x1, cotangent + cotangent.T
    elif argument == 2:
        x1, x2, cotangent = x2, x1, cotangent.T
    n_rows, n_columns = _block_shape(kernel, len(x1), len(x2))
    places = [
        (rows, columns)
        for rows in _slices(len(x1), n_rows)
        for columns in _slices(len(x2), n_columns)
    ]

    def blocks() -> Iterator[tuple]:
        at = None
        for rows, columns in places:
            if rows != at:
                at, left = rows, _prepared(kernel, x1[rows])
            yield kernel, left, x2[columns], cotangent[rows, columns], get

    out = np.zeros(x1.shape, kernel.dtype)
    done = 0
    for (rows, columns), part in zip(places, kernel.pool.map(_gradient, blocks()), strict=True):
        out[rows] += part.reshape(out[rows].shape)
        done += cotangent[rows, columns].size
        if progress is not None:
            progress(done, cotangent.size)
    return out


def with_pullback(
    kernel: Primitives, x1: Array | Prepared, x2: Images, get: Get | None = None
) -> tuple[np.ndarray, Callable[[Array], np.ndarray]]:
    """The whole matrix k(x1, x2), and the function from a cotangent to the gradient of x1.

    Blocks are `kernel.pool.block_rows` rows of x2 and all of x1, which is prepared once. Partial
    gradients are added in the order of those rows.

    Returns:
      (n1, n2) of the kernel's dtype, and a function from a cotangent (n1, n2) to the gradient of
      `sum(cotangent * k)` with respect to x1, of its shape, x2 held constant.

    Raises:
      UserError: the images are not of one shape, JAX traces them, or a cotangent does not fit.
    """
    require_outside_jit(x1, x2)
    require_images(x1, x2)
    dtype, pool = kernel.dtype, kernel.pool
    p1 = _prepared(kernel, x1)
    x2 = p1 if x2 is x1 else x2
    transposed = x2 is not p1 and kernel.transposes(len(p1), len(x2))
    rows = list(_slices(len(x2), pool.block_rows)) or [slice(0, 0)]
    parts = [x2] if len(rows) == 1 else [x2[r] for r in rows]
    if pool.shares_memory:
        done = list(
            pool.map(_block_and_pullback, [(kernel, p1, p, get, transposed) for p in parts])
        )
        blocks = [block for block, _ in done]

        def gradients(cotangents: list[np.ndarray]) -> Iterator[np.ndarray]:
            pulls = [(pull, c) for (_, pull), c in zip(done, cotangents, strict=True)]
            return pool.map(_pulled, pulls)
    else:
        blocks = list(pool.map(_block, [(kernel, p1, p, get, transposed) for p in parts]))

        def gradients(cotangents: list[np.ndarray]) -> Iterator[np.ndarray]:
            works = [(kernel, p1, p, c, get) for p, c in zip(parts, cotangents, strict=True)]
            return pool.map(_gradient, works)

    k = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def pullback(cotangent: Array) -> np.ndarray:
        cotangent = _fitting(cotangent, dtype, k.shape)
        first, *others = gradients([cotangent[:, r] for r in rows])
        total = first
        for gradient in others:
            total = total + gradient
        return total.reshape(p1.shape)

    return k, pullback


def parameter_vjp(
    kernel: Primitives, x1: Array | Prepared, x2: Images, cotangent: Array
) -> dict[str, float]:
    """Gradient of `sum(cotangent * k(x1, x2))` with respect to the kernel's parameters.

    Cut and added up as in `with_pullback`.
    """
    require_outside_jit(x1, x2, cotangent)
    cotangent = _fitting(cotangent, kernel.dtype, (len(x1), len(x2)))
    rows = list(_slices(len(x2), kernel.pool.block_rows))
    x2 = [x2] if len(rows) == 1 else [x2[r] for r in rows]
    works = [(kernel, x1, part, cotangent[:, r]) for part, r in zip(x2, rows, strict=True)]
    total: dict[str, float] = {}
    for part in kernel.pool.map(_parameter_gradient, works):
        total = {name: total[name] + part[name] for name in part} if total else dict(part)
    return total


# What a pool evaluates: a block each. Images that it holds become arrays there.


def _entries(kernel, x1, x2, get, transposed) -> np.ndarray:
    x1, x2 = here(x1, x2)
    if transposed:
        return np.asarray(kernel.block(x2, x1, get)).T
    return np.asarray(kernel.block(x1, x2, get))


def _block_and_pullback(kernel, x1, x2, get, transposed) -> tuple[np.ndarray, Callable]:
    x1, x2 = here(x1, x2)
    x2 = _prepared(kernel, x2)
    if transposed:
        k = _entries(kernel, x1, x2, get, transposed)
        return k, lambda cotangent: kernel.block_vjp(x1, x2, cotangent, get)
    k, pullback = kernel.block_and_pullback(x1, x2, get)
    return np.asarray(k), pullback


def _block(kernel, x1, x2, get, transposed) -> np.ndarray:
    """The first half of `_block_and_pullback`, with its bits."""
    return _block_and_pullback(kernel, x1, x2, get, transposed)[0]


def _pulled(pullback: Callable[[Array], Array], cotangent: np.ndarray) -> np.ndarray:
    return np.asarray(pullback(cotangent))


def _gradient(kernel, x1, x2, cotangent, get) -> np.ndarray:
    x1, x2 = here(x1, x2)
    return np.asarray(kernel.block_vjp(x1, x2, cotangent, get))


def _parameter_gradient(kernel, x1, x2, cotangent) -> Mapping[str, float]:
    x1, x2 = here(x1, x2)
    return kernel.block_parameter_vjp(x1, x2, cotangent)


def _prepared(kernel: Primitives, x: Images) -> Prepared | HeldImages:
    return x if isinstance(x, Prepared | HeldImages) else kernel.prepare(x)


def _fitting(cotangent: Array, dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
    cotangent = np.asarray(cotangent, dtype)
    if cotangent.shape != shape:
        raise UserError(f"a cotangent of shape {shape} is needed, got {cotangent.shape}")
    return cotangent


def _block_shape(kernel: Primitives, n1: int, n2: int) -> tuple[int, int]:
    rows = max(1, min(n1, kernel.block_side))
    columns = max(_MIN_COLUMNS, kernel.block_pairs // rows)
    return rows, max(1, min(n2, columns // _MIN_COLUMNS * _MIN_COLUMNS))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
