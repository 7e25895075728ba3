"""Matrices cut into tiles of pairs, each one compiled call of one shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from paper_repro.core.kernels.plan import Plan
from paper_repro.core.machine.device import platform

# Pairs that keep a tile in a CPU's cache, pairs that fill an accelerator, and the bytes that a
# tile may carry there from segment to segment (the gradient takes twice that).
_PAIRS_CPU = 64
_PAIRS_ACCELERATOR = 4096
_BYTES_ACCELERATOR = 2**29


def default_pairs(planned: Plan, dtype: np.dtype) -> int:
    """Image pairs in one tile on JAX's default device.

    On an accelerator 4096, or as many as fit 512 MB: the paper's ConvNet carries 105 kB a pair at
    32x32 in float32, a Myrtle network, which needs all offsets, 2.1 MB.
    """
    if platform() == "cpu":
        return _PAIRS_CPU
    radii = [*(s.radius for s in planned.segments[1:]), planned.out_radius]
    entries = sum(
        (2 * ry + 1) * (2 * rx + 1) * s.out_height * s.out_width
        for s, (ry, rx) in zip(planned.segments, radii, strict=True)
    )
    # Two kernels travel together.
    return max(1, min(_PAIRS_ACCELERATOR, _BYTES_ACCELERATOR // (2 * entries * dtype.itemsize)))


def tile_shape(n1: int, n2: int, pairs: int) -> tuple[int, int]:
    """Rows and columns of the tiles of an (n1, n2) matrix: at most `pairs`, little padding."""
    columns = min(n2, pairs)
    rows = min(n1, max(1, pairs // columns), max(8, int(pairs**0.5)))
    rows = _evenly(n1, rows)
    return rows, _evenly(n2, min(n2, pairs // rows))


def _evenly(n: int, most: int) -> int:
    """Size of the parts when `n` is cut into as few as `most` allows: the least padding."""
    return -(-n // -(-n // most)) if n and most else 1


def padded(values: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows in parts of exactly `size`; the last part repeats its last row."""
    for start in range(0, len(values), max(1, size)):
        stop = min(len(values), start + size)
        part = values[start:stop]
        if stop - start < size:
            part = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
        yield slice(start, stop), part
