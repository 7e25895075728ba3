"""An image's covariance with itself: the norms that every activation needs.

A norm is what a pixel contributes to a correlation, for a ReLU its standard deviation. Images are
in lanes, on both sides. Only k is needed, at far fewer offsets than between images (49, 9 and 1
for the paper's ConvNet), so tiles are plain arrays here, (H, W, lanes). At offset 0 the entries are
the variances: there an activation takes a variance to the second moment of its outputs.

In reverse mode entry (p, d) and its mirror image (p + d, -d) have the same adjoint, so what a
pixel receives as the second pixel of a pair equals what it receives as the first: one side is
computed and doubled.
"""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.activations.compiled import (
    expectations,
    norm,
    pullback,
    second_moment,
    variance_pullback,
)
from paper_repro.core.kernels.lanes import (
    fma,
    load,
    reciprocal,
    store,
    where_greater,
    zeros_like,
)
from paper_repro.core.kernels.numba_backend.forward import out_position
from paper_repro.core.kernels.numba_backend.stamp import OPTIONS, cached
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_LAYER,
    HEIGHT,
    N_LAYERS,
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


@njit(**OPTIONS)
def _box(values, size_x, bounds, lanes, scratch, out):
    """3x3 sums within rows y0..y1 and columns x0..x1, zero outside."""
    y0, y1, x0, x1 = bounds
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


@njit(**OPTIONS)
def _input_tile(net, s, dy, dx, x, tiles, out):
    """The segment's input at one offset: inner products, or the pooled covariance."""
    segment = net.segments[s]
    lanes = net.lanes
    channels = net.channels
    size_x = segment[WIDTH]
    y0, y1, x0, x1 = _bounds(segment, dy, dx)
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


@njit(**OPTIONS)
def _bounds(segment, dy, dx):
    y0 = max(0, -dy)
    x0 = max(0, -dx)
    y1 = min(segment[HEIGHT], segment[HEIGHT] - dy)
    x1 = min(segment[WIDTH], segment[WIDTH] - dx)
    return y0, y1, x0, x1


@njit(**OPTIONS)
def _inverse(s12):
    """1 / s12, and 0 where s12 is 0."""
    nothing = zeros_like(s12)
    positive = where_greater(s12, nothing, s12, nothing + 1.0)
    return where_greater(s12, nothing, reciprocal(positive), nothing)


@njit(**OPTIONS)
def _chain(net, s, dy, dx, x, norms, scratch):
    """Run one offset through the segment; keep what enters each activation in `scratch.before`.

    At offset 0 the norms are written into `norms`, (n_features, lanes). The output is left in
    `scratch.work[0]`.
    """
    segment = net.segments[s]
    lanes = net.lanes
    bounds = _bounds(segment, dy, dx)
    y0, y1, x0, x1 = bounds
    size_x = segment[WIDTH]
    current, partial = scratch.work[0], scratch.work[1]
    _input_tile(net, s, dy, dx, x, scratch.tiles, current)
    for layer in range(segment[N_LAYERS]):
        index = segment[FIRST_LAYER] + layer
        entering = scratch.before[layer]
        _box(current, size_x, bounds, lanes, partial, entering)
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = y * size_x + column
                k = fma(load(entering, p * lanes), net.weights[index], net.b_variance)
                store(entering, p * lanes, k)
                f1 = (net.starts[index] + p) * lanes
                if dy == 0 and dx == 0:
                    store(norms, f1, norm(net.activation, k))
                    store(current, p * lanes, second_moment(net.activation, k))
                else:
                    f2 = f1 + (dy * size_x + dx) * lanes
                    s12 = load(norms, f1) * load(norms, f2)
                    inverse12 = _inverse(s12)
                    out, _ = expectations(net.activation, k * inverse12, s12, inverse12)
                    store(current, p * lanes, out)


@njit(**OPTIONS)
def _pooled(net, s, dy, dx, y, x):
    """Where entry (y, x) of a tile is added among the next segment's tiles, or -1."""
    segment = net.segments[s]
    row = out_position(segment, dy, y & 1, 0)
    column = out_position(segment, dx, x & 1, 1)
    height, width = segment[OUT_HEIGHT], segment[OUT_WIDTH]
    py, px = y >> segment[POOLS], x >> segment[POOLS]
    inside = (y + dy) >> segment[POOLS] < height and (x + dx) >> segment[POOLS] < width
    if row < 0 or column < 0 or py >= height or px >= width or not inside:
        return -1
    tile = (row * (2 * segment[OUT_RADIUS_X] + 1) + column) * height * width
    return net.segments[s + 1][TILES] + (tile + py * width + px) * net.lanes


@njit(**OPTIONS)
def _offsets(segment):
    return (2 * segment[RADIUS_Y] + 1) * (2 * segment[RADIUS_X] + 1)


@njit(**OPTIONS)
def _nth_offset(segment, n):
    """The n-th offset; offset 0, the middle one, comes first."""
    middle = _offsets(segment) // 2
    n = middle if n == 0 else (n - 1 if n <= middle else n)
    n_x = 2 * segment[RADIUS_X] + 1
    return n // n_x - segment[RADIUS_Y], n % n_x - segment[RADIUS_X]


@njit(**OPTIONS)
def _forward(net, x, norms, scratch):
    """All segments of one group of images x, (H, W, C, lanes)."""
    tiles, lanes = scratch.tiles, net.lanes
    tiles[:] = 0
    for s in range(len(net.segments)):
        segment = net.segments[s]
        for n in range(_offsets(segment)):
            dy, dx = _nth_offset(segment, n)
            _chain(net, s, dy, dx, x, norms, scratch)
            if segment[READOUT]:
                continue
            y0, y1, x0, x1 = _bounds(segment, dy, dx)
            for y in range(y0, y1):
                for column in range(x0, x1):
                    at = _pooled(net, s, dy, dx, y, column)
                    if at >= 0:
                        value = load(scratch.work[0], (y * segment[WIDTH] + column) * lanes)
                        store(tiles, at, load(tiles, at) + value)


@cached
def variance_tasks(groups, net, x, scratch, norms):
    """Norms of the images of each group; `norms` is flat (groups, n_features, lanes)."""
    pixels = net.n_pixels * net.channels * net.lanes
    features = net.n_features * net.lanes
    for group in groups:
        images = x[group * pixels : (group + 1) * pixels]
        _forward(net, images, norms[group * features : (group + 1) * features], scratch)


@njit(**OPTIONS)
def _reverse_tile(net, s, dy, dx, x, norms, d_norms, scratch, d_x):
    """Pull the adjoints of one offset back through the segment."""
    segment = net.segments[s]
    lanes = net.lanes
    channels = net.channels
    size_x = segment[WIDTH]
    bounds = _bounds(segment, dy, dx)
    y0, y1, x0, x1 = bounds
    adjoint, partial = scratch.work[0], scratch.work[1]
    nothing = zeros_like(load(x, 0))
    for y in range(y0, y1):
        for column in range(x0, x1):
            at = -1 if segment[READOUT] else _pooled(net, s, dy, dx, y, column)
            value = load(scratch.d_tiles, at) if at >= 0 else nothing
            store(adjoint, (y * size_x + column) * lanes, value)
    for back in range(segment[N_LAYERS]):
        layer = segment[N_LAYERS] - 1 - back
        index = segment[FIRST_LAYER] + layer
        before = scratch.before[layer]
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = y * size_x + column
                f1 = (net.starts[index] + p) * lanes
                out = load(adjoint, p * lanes)
                s1 = load(norms, f1)
                if dy == 0 and dx == 0:
                    value = variance_pullback(net.activation, s1, out, load(d_norms, f1))
                else:
                    s2 = load(norms, f1 + (dy * size_x + dx) * lanes)
                    inverse12 = _inverse(s1 * s2)
                    c = load(before, p * lanes) * inverse12
                    derivative, _, d12 = pullback(
                        net.activation, c, nothing, 2.0 * out, nothing, s1 * s2, inverse12
                    )
                    store(d_norms, f1, fma(d12, s2, load(d_norms, f1)))
                    value = out * derivative
                store(adjoint, p * lanes, net.weights[index] * value)
        _box(adjoint, size_x, bounds, lanes, partial, before)
        for y in range(y0, y1):
            for column in range(x0, x1):
                p = (y * size_x + column) * lanes
                store(adjoint, p, load(before, p))
    offset = (dy + segment[RADIUS_Y]) * (2 * segment[RADIUS_X] + 1) + dx + segment[RADIUS_X]
    tile = segment[TILES] + offset * segment[HEIGHT] * size_x * lanes
    for y in range(y0, y1):
        for column in range(x0, x1):
            p = y * size_x + column
            value = load(adjoint, p * lanes)
            if s > 0:
                store(scratch.d_tiles, tile + p * lanes, value)
                continue
            at = p * channels * lanes
            other = (p + dy * size_x + dx) * channels * lanes
            for c in range(channels):
                o = at + c * lanes
                store(d_x, o, fma(2.0 * value, load(x, other + c * lanes), load(d_x, o)))


@cached
def variance_vjp_tasks(groups, net, x, scratch, norms, d_norms, d_x):
    """Gradient of `sum(d_norms * norms)` with respect to the images; `d_norms` is used up."""
    pixels = net.n_pixels * net.channels * net.lanes
    features = net.n_features * net.lanes
    for group in groups:
        images = slice(group * pixels, (group + 1) * pixels)
        layers = slice(group * features, (group + 1) * features)
        xs, ss, d_ss, d_xs = x[images], norms[layers], d_norms[layers], d_x[images]
        _forward(net, xs, ss, scratch)
        for back in range(len(net.segments)):
            s = len(net.segments) - 1 - back
            n_offsets = _offsets(net.segments[s])
            for n in range(n_offsets):
                # Offset 0 last: it takes what the others add to the norms.
                dy, dx = _nth_offset(net.segments[s], n_offsets - 1 - n)
                _chain(net, s, dy, dx, xs, ss, scratch)
                _reverse_tile(net, s, dy, dx, xs, ss, d_ss, scratch, d_xs)
