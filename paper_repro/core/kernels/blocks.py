"""Whole kernel matrices and gradients from blocks: bounded memory, progress on the way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.kernel import Get, Kernel, Progress
from paper_repro.core.kernels.prepared import Array, Prepared, require_images
from paper_repro.core.kernels.tracing import require_concrete

_MAX_ROWS = 1024
_MIN_COLUMNS = 64


def kernel_matrix(
    kernel: Kernel,
    x1: Array | Prepared,
    x2: Array | Prepared | None = None,
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
    out = np.empty((n1, n2), kernel.dtype)
    total, done = n1 * n2, 0
    n_rows, n_columns = _block_shape(kernel, n1, n2)
    if symmetric:
        n_columns = n_rows = max(1, min(n1, int(kernel.block_pairs**0.5)))
    for rows in _slices(n1, n_rows):
        left = _prepared(kernel, x1[rows])
        for columns in _slices(n2, n_columns):
            if symmetric and columns.start < rows.start:
                continue
            on_diagonal = symmetric and columns == rows
            right = left if on_diagonal else x2[columns]
            block = np.asarray(kernel.block(left, right, get))
            out[rows, columns] = block
            done += block.size
            if symmetric and not on_diagonal:
                out[columns, rows] = block.T
                done += block.size
            if progress is not None:
                progress(done, total)
    return out


def kernel_vjp(
    kernel: Kernel,
    x1: Array | Prepared,
    x2: Array | Prepared | None,
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
    cotangent = np.asarray(cotangent, kernel.dtype)
    shape = (len(x1), len(x1 if x2 is None else x2))
    if cotangent.shape != shape:
        raise UserError(f"a cotangent of shape {shape} is needed, got {cotangent.shape}")
    if x2 is None:
        x2, cotangent = x1, cotangent + cotangent.T
    elif argument == 2:
        x1, x2, cotangent = x2, x1, cotangent.T
    out = np.zeros(x1.shape, kernel.dtype)
    done = 0
    n_rows, n_columns = _block_shape(kernel, len(x1), len(x2))
    for rows in _slices(len(x1), n_rows):
        left = _prepared(kernel, x1[rows])
        for columns in _slices(len(x2), n_columns):
            part = kernel.block_vjp(left, x2[columns], cotangent[rows, columns], get)
            out[rows] += np.asarray(part).reshape(out[rows].shape)
            done += cotangent[rows, columns].size
            if progress is not None:
                progress(done, cotangent.size)
    return out


def _prepared(kernel: Kernel, x: Array | Prepared) -> Prepared:
    return x if isinstance(x, Prepared) else kernel.prepare(x)


def _block_shape(kernel: Kernel, n1: int, n2: int) -> tuple[int, int]:
    rows = max(1, min(n1, _MAX_ROWS))
    columns = max(_MIN_COLUMNS, kernel.block_pairs // rows)
    return rows, max(1, min(n2, columns // _MIN_COLUMNS * _MIN_COLUMNS))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
