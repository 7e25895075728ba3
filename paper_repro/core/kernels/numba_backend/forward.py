"""Forward mode: one image against a group of targets in lanes, one offset at a time.

For one offset, rows of the tile of valid pixels flow through the segment's chain of conv+ReLU
layers: as soon as three rows of a layer's input exist, summed over three columns on the way, the
middle one is convolved, goes through the ReLU and on to the next layer. A layer needs a ring of
three rows, so before the first pool nothing leaves the L1 cache but the pooled sums.

Two arrays travel together: the covariance k and u = k + t, t the tangent kernel. Since a layer's
t is b^2 + w^2 mean(k + t), u is all that is needed of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from paper_repro.core.kernels.numba_backend.lanes import fma, load, splat, store
from paper_repro.core.kernels.numba_backend.relu import expectations
from paper_repro.core.kernels.numba_backend.stamp import stamped
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_RELU,
    HEIGHT,
    N_RELU,
    OUT_HEIGHT,
    OUT_RADIUS_X,
    OUT_RADIUS_Y,
    OUT_WIDTH,
    POOLS,
    RADIUS_X,
    RADIUS_Y,
    READOUT,
    TILES,
    WIDTH,
)

RING = 4
"""Rows of a ring: three, and one of zeros for the rows beyond the tile."""


@njit(nogil=True)
def dot(x1, at1, x2, at2, channels, lanes):
    """Sum over channels of one pixel of the image times one pixel of the targets."""
    total = splat(x1, at1) * load(x2, at2)
    for c in range(1, channels):
        total = fma(splat(x1, at1 + c), load(x2, at2 + c * lanes), total)
    return total


@njit(nogil=True)
def dot_row(x1, at1, x2, at2, width, channels, lanes, ring, out):
    """Inner products of one row, summed over three columns."""
    left = 0.0 * load(x2, at2)
    if channels == 3:
        middle = dot(x1, at1, x2, at2, 3, lanes)
        for x in range(1, width):
            right = dot(x1, at1 + x * 3, x2, at2 + x * 3 * lanes, 3, lanes)
            store(ring, out + (x - 1) * lanes, left + middle + right)
            left = middle
            middle = right
    else:
        middle = dot(x1, at1, x2, at2, channels, lanes)
        for x in range(1, width):
            at = x * channels
            right = dot(x1, at1 + at, x2, at2 + at * lanes, channels, lanes)
            store(ring, out + (x - 1) * lanes, left + middle + right)
            left = middle
            middle = right
    store(ring, out + (width - 1) * lanes, left + middle)


@njit(nogil=True)
def tile_row(tiles, at, width, lanes, ring, out):
    """One row of an input tile, summed over three columns."""
    left = 0.0 * load(tiles, at)
    middle = load(tiles, at)
    for x in range(1, width):
        right = load(tiles, at + x * lanes)
        store(ring, out + (x - 1) * lanes, left + middle + right)
        left = middle
        middle = right
    store(ring, out + (width - 1) * lanes, left + middle)


def _make_relu_row(first, last):
    """The conv+ReLU of one row.

    first: the network's first layer, where t = k. last: the row is added into the pooled sums
    instead of being handed to the next layer.
    """

    @njit(nogil=True)
    def relu_row(
        rk, ru, above, here, below, width, lanes,
        side1, scale1, shift1, at1, side2, inverse2, at2, weight, constants,
        ok, ou, out, x0, even, odd, shift, step,
    ):  # fmt: skip
        left_k = 0.0 * load(rk, here)
        left_u = left_k
        middle_k = left_k
        middle_u = left_k
        b_variance = constants[0]
        threshold = constants[2]
        for x in range(width):
            o = x * lanes
            f2 = at2 + o
            k_sum = load(rk, above + o) + load(rk, here + o) + load(rk, below + o)
            if first:
                t = fma(k_sum, weight, b_variance)
            else:
                u_sum = load(ru, above + o) + load(ru, here + o) + load(ru, below + o)
                t = fma(u_sum, weight, b_variance)
            c = load(inverse2, f2) * fma(k_sum, splat(scale1, at1 + x), splat(shift1, at1 + x))
            j1, j0 = expectations(c, threshold)
            k = splat(side1, at1 + x) * load(side2, f2) * j1
            u = fma(t, j0, k)
            if last:
                at = odd if (x0 + x) & 1 else even
                if at >= 0:
                    at += ((x0 + x) >> shift) * step
                    store(ok, at, load(ok, at) + k)
                    store(ou, at, load(ou, at) + u)
            else:
                if x > 0:
                    store(ok, out + o - lanes, left_k + middle_k + k)
                    store(ou, out + o - lanes, left_u + middle_u + u)
                left_k = middle_k
                left_u = middle_u
                middle_k = k
                middle_u = u
        if not last:
            o = out + (width - 1) * lanes
            store(ok, o, left_k + middle_k)
            store(ou, o, left_u + middle_u)

    return relu_row


_first_row = _make_relu_row(True, False)
_inner_row = _make_relu_row(False, False)
_first_last_row = _make_relu_row(True, True)
_last_row = _make_relu_row(False, True)


@njit(nogil=True)
def out_position(segment, d, a, axis):
    """Index of the coarse offset that pixels of parity `a` at fine offset `d` add to, or -1."""
    radius = segment[OUT_RADIUS_Y + axis]
    coarse = (d + a) >> 1 if segment[POOLS] else d
    return coarse + radius if abs(coarse) <= radius else -1


@njit(nogil=True)
def row_target(segment, y, dy, dx, parity, out_tiles, lanes):
    """Where the entries of row y and of columns of one parity are added, less the column; or -1."""
    row = out_position(segment, dy, y & 1, 0)
    column = out_position(segment, dx, parity, 1)
    if row < 0 or column < 0:
        return -1
    if segment[READOUT]:
        return 0
    n_x = 2 * segment[OUT_RADIUS_X] + 1
    tile = (row * n_x + column) * segment[OUT_HEIGHT] * segment[OUT_WIDTH]
    return out_tiles + (tile + (y >> segment[POOLS]) * segment[OUT_WIDTH]) * lanes


@njit(nogil=True)
def ring_row(base, row, height, row_size):
    """Position of a row in a ring; rows outside the tile are the row of zeros."""
    slot = row % 3 if 0 <= row < height else 3
    return base + slot * row_size


@njit(nogil=True)
def tile_bounds(segment, dy, dx):
    """First row and column, height and width of an offset's tile; then those of its outputs.

    A pool drops an odd last row or column of either image.
    """
    y0 = max(0, -dy)
    x0 = max(0, -dx)
    height = min(segment[HEIGHT], segment[HEIGHT] - dy) - y0
    width = min(segment[WIDTH], segment[WIDTH] - dx) - x0
    kept_y = segment[OUT_HEIGHT] << segment[POOLS]
    kept_x = segment[OUT_WIDTH] << segment[POOLS]
    last_height = min(height, min(kept_y, kept_y - dy) - y0)
    last_width = min(width, min(kept_x, kept_x - dx) - x0)
    return y0, x0, height, width, last_height, last_width


@njit(nogil=True)
def tile_places(segments, s, dy, dx, lanes):
    """Step between output columns, where the output tiles begin, and this offset's input tile."""
    segment = segments[s]
    step = 0 if segment[READOUT] else lanes
    out_tiles = 0 if segment[READOUT] else segments[s + 1][TILES]
    tile = 0
    if s > 0:
        offset = (dy + segment[RADIUS_Y]) * (2 * segment[RADIUS_X] + 1) + dx + segment[RADIUS_X]
        tile = segment[TILES] + offset * segment[HEIGHT] * segment[WIDTH] * lanes
    return step, out_tiles, tile


@njit(nogil=True)
def forward_tile(
    segments, s, dy, dx, x1, at_x1, side1, scale1, shift1, at1,
    x2, at_x2, side2, inverse2, at2, weights, starts, constants, channels, lanes,
    tiles_k, tiles_u, sum_k, sum_u, ring_k, ring_u, row_size,
):  # fmt: skip
    """One offset of one segment: add its outputs into the next segment's tiles or the readout."""
    segment = segments[s]
    size_x = segment[WIDTH]
    n_relu = segment[N_RELU]
    pools = segment[POOLS]
    readout = segment[READOUT]
    y0, x0, height, width, last_height, last_width = tile_bounds(segment, dy, dx)
    step, out_tiles, tile = tile_places(segments, s, dy, dx, lanes)
    for tick in range(height + n_relu):
        if tick < height:
            out = ring_row(0, tick, height, row_size)
            p = (y0 + tick) * size_x + x0
            if s == 0:
                q = p + dy * size_x + dx
                dot_row(
                    x1, at_x1 + p * channels, x2, at_x2 + q * channels * lanes,
                    width, channels, lanes, ring_k, out,
                )  # fmt: skip
            else:
                tile_row(tiles_k, tile + p * lanes, width, lanes, ring_k, out)
                tile_row(tiles_u, tile + p * lanes, width, lanes, ring_u, out)
        for layer in range(n_relu):
            row = tick - 1 - layer
            if row < 0 or row >= height:
                continue
            base = layer * RING * row_size
            above = ring_row(base, row - 1, height, row_size)
            here = ring_row(base, row, height, row_size)
            below = ring_row(base, row + 1, height, row_size)
            relu = segment[FIRST_RELU] + layer
            y = y0 + row
            p = y * size_x + x0
            f1 = at1 + starts[relu] + p
            f2 = at2 + (starts[relu] + p + dy * size_x + dx) * lanes
            weight = weights[relu]
            first = s == 0 and layer == 0
            if layer == n_relu - 1:
                if row >= last_height:
                    continue
                even = row_target(segment, y, dy, dx, 0, out_tiles, lanes)
                odd = row_target(segment, y, dy, dx, 1, out_tiles, lanes)
                ok = sum_k if readout else tiles_k
                ou = sum_u if readout else tiles_u
                if even < 0 and odd < 0:
                    continue
                if first:
                    _first_last_row(
                        ring_k, ring_u, above, here, below, last_width, lanes,
                        side1, scale1, shift1, f1, side2, inverse2, f2, weight, constants,
                        ok, ou, 0, x0, even, odd, pools, step,
                    )  # fmt: skip
                else:
                    _last_row(
                        ring_k, ring_u, above, here, below, last_width, lanes,
                        side1, scale1, shift1, f1, side2, inverse2, f2, weight, constants,
                        ok, ou, 0, x0, even, odd, pools, step,
                    )  # fmt: skip
            else:
                out = ring_row(base + RING * row_size, row, height, row_size)
                if first:
                    _first_row(
                        ring_k, ring_u, above, here, below, width, lanes,
                        side1, scale1, shift1, f1, side2, inverse2, f2, weight, constants,
                        ring_k, ring_u, out, 0, 0, 0, 0, 0,
                    )  # fmt: skip
                else:
                    _inner_row(
                        ring_k, ring_u, above, here, below, width, lanes,
                        side1, scale1, shift1, f1, side2, inverse2, f2, weight, constants,
                        ring_k, ring_u, out, 0, 0, 0, 0, 0,
                    )  # fmt: skip


@njit(nogil=True)
def forward_segments(
    segments, first, stop, x1, at_x1, side1, scale1, shift1, at1,
    x2, at_x2, side2, inverse2, at2, weights, starts, constants, channels, lanes,
    tiles_k, tiles_u, sum_k, sum_u, ring_k, ring_u, row_size,
):  # fmt: skip
    """Segments `first` to `stop - 1`, every offset of each."""
    for s in range(first, stop):
        segment = segments[s]
        for dy in range(-segment[RADIUS_Y], segment[RADIUS_Y] + 1):
            for dx in range(-segment[RADIUS_X], segment[RADIUS_X] + 1):
                forward_tile(
                    segments, s, dy, dx, x1, at_x1, side1, scale1, shift1, at1,
                    x2, at_x2, side2, inverse2, at2, weights, starts, constants, channels, lanes,
                    tiles_k, tiles_u, sum_k, sum_u, ring_k, ring_u, row_size,
                )  # fmt: skip


@stamped
@njit(nogil=True, cache=True)
def forward_tasks(
    tasks, segments, x1, side1, scale1, shift1, x2, side2, inverse2,
    weights, starts, constants, n_pixels, channels, n_features, lanes,
    tiles_k, tiles_u, sums, rings, row_size, ntk, out,
):  # fmt: skip
    """Kernel entries of tasks (image, group of targets); `out` is (n1, groups * lanes)."""
    n_rings = len(rings) // 2
    ring_k = rings[:n_rings]
    ring_u = rings[n_rings:]
    sum_k = sums[:lanes]
    sum_u = sums[lanes:]
    ring_k[:] = 0
    ring_u[:] = 0
    for task in range(len(tasks)):
        i = tasks[task, 0]
        group = tasks[task, 1]
        tiles_k[:] = 0
        tiles_u[:] = 0
        sums[:] = 0
        forward_segments(
            segments, 0, len(segments), x1, i * n_pixels * channels,
            side1, scale1, shift1, i * n_features,
            x2, group * n_pixels * channels * lanes, side2, inverse2, group * n_features * lanes,
            weights, starts, constants, channels, lanes,
            tiles_k, tiles_u, sum_k, sum_u, ring_k, ring_u, row_size,
        )  # fmt: skip
        for lane in range(lanes):
            total = sum_u[lane] if ntk else sum_k[lane]
            out[i, group * lanes + lane] = constants[0] + constants[1] * total


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that start on a cache line, which vector loads need for speed."""
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)
