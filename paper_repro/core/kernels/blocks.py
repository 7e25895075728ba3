"""The one owner of the split into blocks: whole matrices, their gradients, and KIP's step.

Everything larger than a block is put together here: blocks are cut by row number, evaluated by the
kernel's pool, and added up in the order in which they were cut. So memory is bounded, there is
progress on the way, and every pool gives the same bits. Backends see single blocks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import work
from paper_repro.core.kernels.pool.held import RemoteImages, read
from paper_repro.core.kernels.prepared import Array, Prepared, require_images
from paper_repro.core.kernels.tracing import require_concrete, require_outside_jit
from paper_repro.core.kernels.work import Get, Primitives

Progress = Callable[[int, int], None]
"""Called with the number of pairs done and the total after every block."""

Images = Array | Prepared | RemoteImages
"""A batch of images (n, ...): an array, prepared, or read where blocks are evaluated."""

_MIN_COLUMNS = 64


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
                left = work.prepared(kernel, left) if prepare else left
            right = left if symmetric and columns == rows else x2[columns]
            yield kernel, left, right, get, transposed

    out = np.empty((n1, n2), kernel.dtype)
    done = 0
    for (rows, columns), block in zip(places, kernel.pool.map(work.entries, blocks()), strict=True):
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
                at, left = rows, work.prepared(kernel, x1[rows])
            yield kernel, left, x2[columns], cotangent[rows, columns], get

    out = np.zeros(x1.shape, kernel.dtype)
    done = 0
    for (rows, columns), part in zip(places, kernel.pool.map(work.gradient, blocks()), strict=True):
        out[rows] += part.reshape(out[rows].shape)
        done += cotangent[rows, columns].size
        if progress is not None:
            progress(done, cotangent.size)
    return out


def with_pullback(
    kernel: Primitives, x1: Array | Prepared, x2: Images, get: Get | None = None
) -> tuple[np.ndarray, Callable[[Array], np.ndarray]]:
    """The whole matrix k(x1, x2), and the function from a cotangent to the gradient of x1.

    Blocks are cut as `Kernel.gradient_cut` says. Partial gradients are added in the order of the
    rows of x2.

    Returns:
      (n1, n2) of the kernel's dtype, and a function from a cotangent (n1, n2) to the gradient of
      `sum(cotangent * k)` with respect to x1, of its shape, x2 held constant.

    Raises:
      UserError: the images are not of one shape, JAX traces them, or a cotangent does not fit.
    """
    require_outside_jit(x1, x2)
    require_images(x1, x2)
    dtype, pool = kernel.dtype, kernel.pool
    p1 = work.prepared(kernel, x1)
    is_self, n1, n2 = x2 is x1, len(p1), len(x2)
    rows, columns = kernel.gradient_cut
    if is_self and n1 > min(rows, columns):
        return _self_with_pullback(kernel, p1, get)
    transposed = not is_self and kernel.transposes(n1, n2)
    places = [(a, b) for b in _cut(n2, columns) for a in _cut(n1, rows)]
    left = {a.start: p1 if n1 <= rows else p1[a] for a, _ in places}
    if is_self:
        right = {0: p1}
    else:
        right = {b.start: x2 if n2 <= columns else x2[b] for _, b in places}
        if pool.shares_memory:
            right = {start: work.prepared(kernel, read(x)) for start, x in right.items()}
    pairs = [(left[a.start], right[b.start]) for a, b in places]
    if pool.shares_memory:
        works = [(kernel, x, y, get, transposed) for x, y in pairs]
        done = list(pool.map(work.block_and_pullback, works))
        blocks = [block for block, _ in done]

        def gradients(cotangents: list[np.ndarray]) -> Iterator[np.ndarray]:
            pulls = [(pull, c) for (_, pull), c in zip(done, cotangents, strict=True)]
            return pool.map(work.pulled, pulls)
    else:
        blocks = pool.map(work.block, [(kernel, x, y, get, transposed) for x, y in pairs])

        def gradients(cotangents: list[np.ndarray]) -> Iterator[np.ndarray]:
            works = [(kernel, *pair, c, get) for pair, c in zip(pairs, cotangents, strict=True)]
            return pool.map(work.gradient, works)

    k = np.empty((n1, n2), dtype)
    for (a, b), block in zip(places, blocks, strict=True):
        k[a, b] = block

    def pullback(cotangent: Array) -> np.ndarray:
        cotangent = _fitting(cotangent, dtype, k.shape)
        return _added(p1, dtype, places, gradients([cotangent[a, b] for a, b in places]))

    return k, pullback


def _self_with_pullback(
    kernel: Primitives, p1: Prepared, get: Get | None
) -> tuple[np.ndarray, Callable[[Array], np.ndarray]]:
    """`with_pullback` of x1 with itself, in more than one block; the matrix is symmetric."""
    k, (rows, columns) = kernel_matrix(kernel, p1, None, get), kernel.gradient_cut
    places = [(a, b) for b in _cut(len(p1), columns) for a in _cut(len(p1), rows)]

    def pullback(cotangent: Array) -> np.ndarray:
        cotangent = _fitting(cotangent, kernel.dtype, k.shape)
        works = [(kernel, p1[a], p1[b], cotangent[a, b], get) for a, b in places]
        return _added(p1, kernel.dtype, places, kernel.pool.map(work.gradient, works))

    return k, pullback


def _added(
    p1: Prepared, dtype: np.dtype, places: list[tuple[slice, slice]], parts: Iterable[np.ndarray]
) -> np.ndarray:
    """The gradient of p1 from those of blocks, added in the order of `places`."""
    total = np.empty(p1.shape, dtype)
    for (rows, columns), part in zip(places, parts, strict=True):
        part = part.reshape(total[rows].shape)
        total[rows] = part if columns.start == 0 else total[rows] + part
    return total


def parameter_vjp(
    kernel: Primitives, x1: Array | Prepared, x2: Images, cotangent: Array
) -> dict[str, float]:
    """Gradient of `sum(cotangent * k(x1, x2))` with respect to the kernel's parameters.

    Cut and added up as in `with_pullback`.
    """
    require_outside_jit(x1, x2, cotangent)
    cotangent = _fitting(cotangent, kernel.dtype, (len(x1), len(x2)))
    rows = _cut(len(x2), kernel.gradient_cut[1])
    x2 = [x2] if len(rows) == 1 else [x2[r] for r in rows]
    works = [(kernel, x1, part, cotangent[:, r]) for part, r in zip(x2, rows, strict=True)]
    total: dict[str, float] = {}
    for part in kernel.pool.map(work.parameter_gradient, works):
        total = {name: total[name] + part[name] for name in part} if total else dict(part)
    return total


def _fitting(cotangent: Array, dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
    cotangent = np.asarray(cotangent, dtype)
    if cotangent.shape != shape:
        raise UserError(f"a cotangent of shape {shape} is needed, got {cotangent.shape}")
    return cotangent


def _block_shape(kernel: Primitives, n1: int, n2: int) -> tuple[int, int]:
    rows = max(1, min(n1, kernel.block_side))
    columns = max(_MIN_COLUMNS, kernel.block_pairs // rows)
    return rows, max(1, min(n2, columns // _MIN_COLUMNS * _MIN_COLUMNS))


def _cut(n: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover range(n); one where there is nothing."""
    return list(_slices(n, max(1, size))) or [slice(0, 0)]


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
