"""Forward mode: one image against a group of targets in lanes, one offset at a time.

For one offset, rows of the tile of valid pixels flow through the segment's chain of conv+activation
layers: as soon as three rows of a layer's input exist, summed over three columns on the way, the
middle one is convolved, goes through the activation and on to the next layer. A layer needs a ring
of three rows, so before the first pool nothing leaves the L1 cache but the pooled sums.

Two arrays travel together: the covariance k and u = k + t, t the tangent kernel. Since a layer's
t is b^2 + w^2 mean(k + t), u is all that is needed of it.

Arrays are flat. A tile is (H, W, lanes), pixel p of the first image at one offset; a ring is
(RING, W, lanes) for each layer.
"""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.activations.compiled import expectations
from paper_repro.core.kernels.lanes import fma, load, splat, store, zeros_like
from paper_repro.core.kernels.numba_backend.stamp import OPTIONS, cached
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_LAYER,
    HEIGHT,
    N_LAYERS,
    OUT_HEIGHT,
    OUT_RADIUS_X,
    OUT_RADIUS_Y,
    OUT_WIDTH,
    POOLS,
    RADIUS_X,
    RADIUS_Y,
    READOUT,
    RING,
    TILES,
    WIDTH,
    At,
    Row,
    Target,
)


@njit(**OPTIONS)
def dot(x1, at1, x2, at2, channels, lanes):
    """Sum over channels of one pixel of the image times one pixel of the targets."""
    total = splat(x1, at1) * load(x2, at2)
    for c in range(1, channels):
        total = fma(splat(x1, at1 + c), load(x2, at2 + c * lanes), total)
    return total


@njit(**OPTIONS)
def dot_row(x1, at1, x2, at2, width, channels, lanes, ring, out):
    """Inner products of one row, summed over three columns: (W, lanes) into `ring[out:]`."""
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


@njit(**OPTIONS)
def tile_row(tiles, at, width, lanes, ring, out):
    """One row of an input tile, summed over three columns: (W, lanes) into `ring[out:]`."""
    left = 0.0 * load(tiles, at)
    middle = load(tiles, at)
    for x in range(1, width):
        right = load(tiles, at + x * lanes)
        store(ring, out + (x - 1) * lanes, left + middle + right)
        left = middle
        middle = right
    store(ring, out + (width - 1) * lanes, left + middle)


# A call that LLVM does not inline would pass all that these tuples hold, for every row.
@njit(**OPTIONS, inline="always")
def input_row(net, s, row, places, image, targets, at, scratch):
    """Row `row` of a tile's input, summed over three columns, into the first ring."""
    y0, x0, height, width, d_offset, tile = places
    out = ring_row(0, row, height, net.row_size)
    p = (y0 + row) * net.segments[s][WIDTH] + x0
    if s == 0:
        at1 = at.pixels1 + p * net.channels
        at2 = at.pixels2 + (p + d_offset) * net.channels * net.lanes
        ring = scratch.ring_k
        dot_row(image.pixels, at1, targets.pixels, at2, width, net.channels, net.lanes, ring, out)
    else:
        begin = tile + p * net.lanes
        tile_row(scratch.tiles_k, begin, width, net.lanes, scratch.ring_k, out)
        tile_row(scratch.tiles_u, begin, width, net.lanes, scratch.ring_u, out)


def _make_layer_row(first, last):
    """The conv+activation of one row.

    first: the network's first layer, where t = k. last: the row is added into the pooled sums
    instead of being handed to the next layer.
    """

    @njit(**OPTIONS)
    def layer_row(net, image, targets, scratch, row, target):
        # Taking an array out of a tuple costs a reference count: once a row, not once a pixel.
        rk, ru = scratch.ring_k, scratch.ring_u
        norm1, inverse1, scale1, shift1 = image.norm, image.inverse, image.scale, image.shift
        norm2, inverse2 = targets.norm, targets.inverse
        ok, ou = target.k, target.u
        lanes = net.lanes
        left_k = 0.0 * load(rk, row.here)
        left_u = left_k
        middle_k = left_k
        middle_u = left_k
        for x in range(row.width):
            o = x * lanes
            f1 = row.norms1 + x
            f2 = row.norms2 + o
            k_sum = load(rk, row.above + o) + load(rk, row.here + o) + load(rk, row.below + o)
            if first:
                t = fma(k_sum, row.weight, net.b_variance)
            else:
                u_sum = load(ru, row.above + o) + load(ru, row.here + o) + load(ru, row.below + o)
                t = fma(u_sum, row.weight, net.b_variance)
            c = load(inverse2, f2) * fma(k_sum, splat(scale1, f1), splat(shift1, f1))
            s12 = splat(norm1, f1) * load(norm2, f2)
            inverse12 = splat(inverse1, f1) * load(inverse2, f2)
            k, derivative = expectations(net.activation, c, s12, inverse12)
            u = fma(t, derivative, k)
            if last:
                at = target.odd if (target.x0 + x) & 1 else target.even
                if at >= 0:
                    at += ((target.x0 + x) >> target.shift) * target.step
                    store(ok, at, load(ok, at) + k)
                    store(ou, at, load(ou, at) + u)
            else:
                if x > 0:
                    store(rk, row.out + o - lanes, left_k + middle_k + k)
                    store(ru, row.out + o - lanes, left_u + middle_u + u)
                left_k = middle_k
                left_u = middle_u
                middle_k = k
                middle_u = u
        if not last:
            o = row.out + (row.width - 1) * lanes
            store(rk, o, left_k + middle_k)
            store(ru, o, left_u + middle_u)

    return layer_row


_first_row = _make_layer_row(True, False)
_inner_row = _make_layer_row(False, False)
_first_last_row = _make_layer_row(True, True)
_last_row = _make_layer_row(False, True)


@njit(**OPTIONS)
def out_position(segment, d, a, axis):
    """Index of the coarse offset that pixels of parity `a` at fine offset `d` add to, or -1."""
    radius = segment[OUT_RADIUS_Y + axis]
    coarse = (d + a) >> 1 if segment[POOLS] else d
    return coarse + radius if abs(coarse) <= radius else -1


@njit(**OPTIONS)
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


@njit(**OPTIONS)
def ring_row(base, row, height, row_size):
    """Position of a row in a ring; rows outside the tile are the row of zeros."""
    slot = row % 3 if 0 <= row < height else 3
    return base + slot * row_size


@njit(**OPTIONS)
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


@njit(**OPTIONS)
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


@njit(**OPTIONS)
def forward_tile(net, s, dy, dx, image, targets, at, scratch):
    """One offset of one segment: add its outputs into the next segment's tiles or the readout."""
    segment = net.segments[s]
    lanes = net.lanes
    row_size = net.row_size
    size_x = segment[WIDTH]
    n_layers = segment[N_LAYERS]
    readout = segment[READOUT]
    # A global average sums a million entries, a Flatten those of offset 0 alone.
    averages = readout and segment[OUT_RADIUS_Y] + segment[OUT_RADIUS_X] > 0
    y0, x0, height, width, last_height, last_width = tile_bounds(segment, dy, dx)
    step, out_tiles, tile = tile_places(net.segments, s, dy, dx, lanes)
    d_offset = dy * size_x + dx
    places = (y0, x0, height, width, d_offset, tile)
    ok = scratch.sum_k if readout else scratch.tiles_k
    ou = scratch.sum_u if readout else scratch.tiles_u
    for tick in range(height + n_layers):
        if tick < height:
            input_row(net, s, tick, places, image, targets, at, scratch)
        for layer in range(n_layers):
            y = tick - 1 - layer
            if y < 0 or y >= height:
                continue
            base = layer * RING * row_size
            p = (y0 + y) * size_x + x0
            start = net.starts[segment[FIRST_LAYER] + layer] + p
            first = s == 0 and layer == 0
            last = layer == n_layers - 1
            even = -1
            odd = -1
            out = 0
            if last:
                if y >= last_height:
                    continue
                even = row_target(segment, y0 + y, dy, dx, 0, out_tiles, lanes)
                odd = row_target(segment, y0 + y, dy, dx, 1, out_tiles, lanes)
                if even < 0 and odd < 0:
                    continue
            else:
                out = ring_row(base + RING * row_size, y, height, row_size)
            row = Row(
                ring_row(base, y - 1, height, row_size),
                ring_row(base, y, height, row_size),
                ring_row(base, y + 1, height, row_size),
                out,
                last_width if last else width,
                0,
                at.norms1 + start,
                at.norms2 + (start + d_offset) * lanes,
                0,
                0,
                net.weights[segment[FIRST_LAYER] + layer],
            )
            target = Target(ok, ou, x0, even, odd, segment[POOLS], step)
            if first and last:
                _first_last_row(net, image, targets, scratch, row, target)
            elif last:
                _last_row(net, image, targets, scratch, row, target)
            elif first:
                _first_row(net, image, targets, scratch, row, target)
            else:
                _inner_row(net, image, targets, scratch, row, target)
            if last and averages:
                _settle(scratch.sum_k, lanes)
                _settle(scratch.sum_u, lanes)


@njit(**OPTIONS)
def _settle(sums, lanes):
    """Move the first of three sums into the second, what that rounds off into the third (Knuth)."""
    part = load(sums, 0)
    total = load(sums, lanes)
    together = total + part
    added = together - total
    rest = (total - (together - added)) + (part - added)
    store(sums, 0, zeros_like(part))
    store(sums, lanes, together)
    store(sums, 2 * lanes, load(sums, 2 * lanes) + rest)


@njit(**OPTIONS)
def _settled(sums, lane, lanes):
    """One lane of the three sums together."""
    return sums[lane] + (sums[lanes + lane] + sums[2 * lanes + lane])


@njit(**OPTIONS)
def forward_segments(net, stop, image, targets, at, scratch):
    """Segments 0 to `stop - 1`, every offset of each."""
    for s in range(stop):
        segment = net.segments[s]
        for dy in range(-segment[RADIUS_Y], segment[RADIUS_Y] + 1):
            for dx in range(-segment[RADIUS_X], segment[RADIUS_X] + 1):
                forward_tile(net, s, dy, dx, image, targets, at, scratch)


@njit(**OPTIONS)
def pair_at(net, i, group):
    """Where image i and a group of targets begin in the arrays of their sides."""
    pixels = net.n_pixels * net.channels
    return At(
        i * pixels,
        i * net.n_features,
        group * pixels * net.lanes,
        group * net.n_features * net.lanes,
    )


@cached
def forward_tasks(tasks, net, image, targets, scratch, ntk, out):
    """Kernel entries of tasks, int64 (n, 2): image, group of targets.

    `out` is (n1, groups * lanes).
    """
    lanes = net.lanes
    scratch.ring_k[:] = 0
    scratch.ring_u[:] = 0
    for task in range(len(tasks)):
        i = tasks[task, 0]
        group = tasks[task, 1]
        scratch.tiles_k[:] = 0
        scratch.tiles_u[:] = 0
        scratch.sum_k[:] = 0
        scratch.sum_u[:] = 0
        at = pair_at(net, i, group)
        forward_segments(net, len(net.segments), image, targets, at, scratch)
        for lane in range(lanes):
            total = _settled(scratch.sum_u if ntk else scratch.sum_k, lane, lanes)
            out[i, group * lanes + lane] = net.b_variance + net.readout * total
