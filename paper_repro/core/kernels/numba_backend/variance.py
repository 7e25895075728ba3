"""An image's covariance with itself: the standard deviations that every ReLU needs.

Images are in lanes, on both sides. Only k is needed, at far fewer offsets than between images
(49, 9 and 1 for the paper's ConvNet), so tiles are plain arrays here. At offset 0 the entries
are the variances: c = 1 there exactly, and a ReLU halves them.

In reverse mode entry (p, d) and its mirror image (p + d, -d) have the same adjoint, so what a
pixel receives as the second pixel of a pair equals what it receives as the first: one side is
computed and doubled.
"""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.numba_backend.forward import out_position
from paper_repro.core.kernels.numba_backend.lanes import (
    fma,
    load,
    reciprocal_root,
    square_root,
    store,
    where_greater,
    zeros_like,
)
from paper_repro.core.kernels.numba_backend.relu import derivatives, first_expectation
from paper_repro.core.kernels.numba_backend.stamp import stamped
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_RELU,
    HEIGHT,
    N_RELU,
    OUT_HEIGHT,
    OUT_RADIUS_X,
    OUT_WIDTH,
    POOLS,
    RADIUS_X,
    RADIUS_Y,
    READOUT,
    TILES,
    WIDTH,
)


@njit(nogil=True)
def _box(values, size_x, y0, y1, x0, x1, lanes, scratch, out):
    """3x3 sums within rows y0..y1 and columns x0..x1, zero outside."""
    nothing = zeros_like(load(values, 0))
    for y in range(y0, y1):
        for x in range(x0, x1):
            at = (y * size_x + x) * lanes
            total = load(values, at)
            if x > x0:
                total = load(values, at - lanes) + total
            if x + 1 < x1:
                total = total + load(values, at + lanes)
            store(scratch, at, total)
    pitch = size_x * lanes
    for y in range(y0, y1):
        for x in range(x0, x1):
            at = (y * size_x + x) * lanes
            above = load(scratch, at - pitch) if y > y0 else nothing
            below = load(scratch, at + pitch) if y + 1 < y1 else nothing
            store(out, at, above + load(scratch, at) + below)


@njit(nogil=True)
def _input_tile(segments, s, dy, dx, bounds, x, channels, lanes, tiles, out):
    """The segment's input at one offset: inner products, or the pooled covariance."""
    segment = segments[s]
    size_x = segment[WIDTH]
    y0, y1, x0, x1 = bounds
    offset = (dy + segment[RADIUS_Y]) * (2 * segment[RADIUS_X] + 1) + dx + segment[RADIUS_X]
    tile = segment[TILES] + offset * segment[HEIGHT] * size_x * lanes
    for y in range(y0, y1):
        for column in range(x0, x1):
            p = y * size_x + column
            if s > 0:
                store(out, p * lanes, load(tiles, tile + p * lanes))
                continue
            at = p * channels * lanes
            other = (p + dy * size_x + dx) * channels * lanes
            total = load(x, at) * load(x, other)
            for c in range(1, channels):
                total = fma(load(x, at + c * lanes), load(x, other + c * lanes), total)
            store(out, p * lanes, total)


@njit(nogil=True)
def _bounds(segment, dy, dx):
    y0 = max(0, -dy)
    x0 = max(0, -dx)
    y1 = min(segment[HEIGHT], segment[HEIGHT] - dy)
    x1 = min(segment[WIDTH], segment[WIDTH] - dx)
    return y0, y1, x0, x1


@njit(nogil=True)
def _chain(
    segments, s, dy, dx, x, std, weights, starts, constants, channels, lanes, tiles, work, before
):
    """Run one offset through the segment; keep what enters each ReLU in `before`.

    At offset 0 the standard deviations are written into `std`. The output is left in `work[0]`.
    """
    segment = segments[s]
    bounds = _bounds(segment, dy, dx)
    y0, y1, x0, x1 = bounds
    size_x = segment[WIDTH]
    current, scratch = work[0], work[1]
    _input_tile(segments, s, dy, dx, bounds, x, channels, lanes, tiles, current)
    nothing = zeros_like(load(current, 0))
    for layer in range(segment[N_RELU]):
        relu = segment[FIRST_RELU] + layer
        entering = before[layer]
        _box(current, size_x, y0, y1, x0, x1, lanes, scratch, entering)
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = y * size_x + column
                k = fma(load(entering, p * lanes), weights[relu], constants[0])
                store(entering, p * lanes, k)
                f1 = (starts[relu] + p) * lanes
                if dy == 0 and dx == 0:
                    store(std, f1, square_root(where_greater(k, nothing, k, nothing)))
                    store(current, p * lanes, 0.5 * k)
                else:
                    f2 = f1 + (dy * size_x + dx) * lanes
                    s12 = load(std, f1) * load(std, f2)
                    c = _correlation(k, s12)
                    store(current, p * lanes, s12 * first_expectation(c, constants[2]))


@njit(nogil=True)
def _correlation(k, s12):
    """k / s12, and 0 where s12 is 0."""
    nothing = zeros_like(k)
    squared = where_greater(s12, nothing, s12 * s12, nothing + 1.0)
    return where_greater(s12, nothing, k * reciprocal_root(squared), nothing)


@njit(nogil=True)
def _pooled(segments, s, dy, dx, y, x, lanes):
    """Where entry (y, x) of a tile is added among the next segment's tiles, or -1."""
    segment = segments[s]
    row = out_position(segment, dy, y & 1, 0)
    column = out_position(segment, dx, x & 1, 1)
    height, width = segment[OUT_HEIGHT], segment[OUT_WIDTH]
    py, px = y >> segment[POOLS], x >> segment[POOLS]
    inside = (y + dy) >> segment[POOLS] < height and (x + dx) >> segment[POOLS] < width
    if row < 0 or column < 0 or py >= height or px >= width or not inside:
        return -1
    tile = (row * (2 * segment[OUT_RADIUS_X] + 1) + column) * height * width
    return segments[s + 1][TILES] + (tile + py * width + px) * lanes


@njit(nogil=True)
def _offsets(segment):
    return (2 * segment[RADIUS_Y] + 1) * (2 * segment[RADIUS_X] + 1)


@njit(nogil=True)
def _nth_offset(segment, n):
    """The n-th offset; offset 0, the middle one, comes first."""
    middle = _offsets(segment) // 2
    n = middle if n == 0 else (n - 1 if n <= middle else n)
    n_x = 2 * segment[RADIUS_X] + 1
    return n // n_x - segment[RADIUS_Y], n % n_x - segment[RADIUS_X]


@njit(nogil=True)
def _forward(segments, x, std, weights, starts, constants, channels, lanes, tiles, work, before):
    tiles[:] = 0
    for s in range(len(segments)):
        segment = segments[s]
        for n in range(_offsets(segment)):
            dy, dx = _nth_offset(segment, n)
            _chain(
                segments, s, dy, dx, x, std, weights, starts, constants, channels, lanes,
                tiles, work, before,
            )  # fmt: skip
            if segment[READOUT]:
                continue
            y0, y1, x0, x1 = _bounds(segment, dy, dx)
            for y in range(y0, y1):
                for column in range(x0, x1):
                    at = _pooled(segments, s, dy, dx, y, column, lanes)
                    if at >= 0:
                        value = load(work[0], (y * segment[WIDTH] + column) * lanes)
                        store(tiles, at, load(tiles, at) + value)


@stamped
@njit(nogil=True, cache=True)
def variance_tasks(
    groups, segments, x, weights, starts, constants, n_pixels, channels, n_features, lanes,
    tiles, work, before, std,
):  # fmt: skip
    """Standard deviations of the images of each group; `std` is flat (groups, features, lanes)."""
    for group in groups:
        _forward(
            segments,
            x[group * n_pixels * channels * lanes : (group + 1) * n_pixels * channels * lanes],
            std[group * n_features * lanes : (group + 1) * n_features * lanes],
            weights, starts, constants, channels, lanes, tiles, work, before,
        )  # fmt: skip


@njit(nogil=True)
def _reverse_tile(
    segments, s, dy, dx, x, std, d_std, weights, starts, constants, channels, lanes,
    tiles, d_tiles, work, before, dx_out,
):  # fmt: skip
    """Pull the adjoints of one offset back through the segment."""
    segment = segments[s]
    size_x = segment[WIDTH]
    y0, y1, x0, x1 = _bounds(segment, dy, dx)
    adjoint, scratch = work[0], work[1]
    central = dy == 0 and dx == 0
    nothing = zeros_like(load(x, 0))
    for y in range(y0, y1):
        for column in range(x0, x1):
            at = -1 if segment[READOUT] else _pooled(segments, s, dy, dx, y, column, lanes)
            value = load(d_tiles, at) if at >= 0 else nothing
            store(adjoint, (y * size_x + column) * lanes, value)
    for back in range(segment[N_RELU]):
        layer = segment[N_RELU] - 1 - back
        relu = segment[FIRST_RELU] + layer
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = y * size_x + column
                f1 = (starts[relu] + p) * lanes
                out = load(adjoint, p * lanes)
                s1 = load(std, f1)
                if central:
                    # k_out = k / 2 and s = sqrt(k).
                    safe = where_greater(s1, nothing, s1 * s1, nothing + 1.0)
                    rate = where_greater(s1, nothing, 0.5 * reciprocal_root(safe), nothing)
                    value = fma(0.5, out, rate * load(d_std, f1))
                else:
                    f2 = f1 + (dy * size_x + dx) * lanes
                    s2 = load(std, f2)
                    c = _correlation(load(before[layer], p * lanes), s1 * s2)
                    j0, sine, _ = derivatives(c, constants[2])
                    store(d_std, f1, fma(2.0 * out * sine, s2, load(d_std, f1)))
                    value = out * j0
                store(adjoint, p * lanes, weights[relu] * value)
        _box(adjoint, size_x, y0, y1, x0, x1, lanes, scratch, before[layer])
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = (y * size_x + column) * lanes
                store(adjoint, p, load(before[layer], p))
    offset = (dy + segment[RADIUS_Y]) * (2 * segment[RADIUS_X] + 1) + dx + segment[RADIUS_X]
    tile = segment[TILES] + offset * segment[HEIGHT] * size_x * lanes
    for y in range(y0, y1):
        for column in range(x0, x1):
            p = y * size_x + column
            value = load(adjoint, p * lanes)
            if s > 0:
                store(d_tiles, tile + p * lanes, value)
                continue
            at = p * channels * lanes
            other = (p + dy * size_x + dx) * channels * lanes
            for c in range(channels):
                o = at + c * lanes
                product = fma(2.0 * value, load(x, other + c * lanes), load(dx_out, o))
                store(dx_out, o, product)


@stamped
@njit(nogil=True, cache=True)
def variance_vjp_tasks(
    groups, segments, x, weights, starts, constants, n_pixels, channels, n_features, lanes,
    tiles, d_tiles, work, before, std, d_std, dx_out,
):  # fmt: skip
    """Gradient of `sum(d_std * std)` with respect to the images; `d_std` is used up."""
    for group in groups:
        images = slice(
            group * n_pixels * channels * lanes, (group + 1) * n_pixels * channels * lanes
        )
        features = slice(group * n_features * lanes, (group + 1) * n_features * lanes)
        xs, stds, d_stds, dxs = x[images], std[features], d_std[features], dx_out[images]
        _forward(
            segments, xs, stds, weights, starts, constants, channels, lanes, tiles, work, before
        )
        for back in range(len(segments)):
            s = len(segments) - 1 - back
            n_offsets = _offsets(segments[s])
            for n in range(n_offsets):
                # Offset 0 last: it takes what the others add to the standard deviations.
                dy, dx = _nth_offset(segments[s], n_offsets - 1 - n)
                _chain(
                    segments, s, dy, dx, xs, stds, weights, starts, constants, channels, lanes,
                    tiles, work, before,
                )  # fmt: skip
                _reverse_tile(
                    segments, s, dy, dx, xs, stds, d_stds, weights, starts, constants, channels,
                    lanes, tiles, d_tiles, work, before, dxs,
                )  # fmt: skip
