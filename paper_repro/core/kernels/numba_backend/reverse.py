"""Reverse mode with respect to the image, the targets in lanes held constant.

After the forward pass has left every segment's input tiles, segments are walked backwards. An
offset's chain is recomputed row by row, keeping the correlation c and the tangent kernel t that
enter each activation, and the adjoints flow back through the same pipeline of rows, a 3x3 sum
being its own transpose. A tile that was read is overwritten by its adjoint. For adjoints kb and ub
of a layer's outputs k' = E[phi phi] and u' = k' + t E[phi' phi'], functions of c = k / s12 and of
s12 = s1 s2, with D = E[phi' phi'] = dk'/dk,

    q   = ub t dD/dk
    dt  = ub D
    dk  = (kb + ub) D + q
    ds1 = ((kb + ub) dk'/ds12 + ub t dD/ds12) s2

For a ReLU q is taken to be zero at coincident patches, where it is singular. ds1 is collected per
layer and image; the pass over variances pulls it back to the pixels.
"""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.activations.compiled import expectations, pullback
from paper_repro.core.kernels.lanes import fma, load, splat, store
from paper_repro.core.kernels.numba_backend.forward import (
    forward_segments,
    input_row,
    pair_at,
    ring_row,
    row_target,
    tile_bounds,
    tile_places,
)
from paper_repro.core.kernels.numba_backend.stamp import OPTIONS, cached
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_LAYER,
    N_LAYERS,
    POOLS,
    RADIUS_X,
    RADIUS_Y,
    READOUT,
    RING,
    WIDTH,
    Row,
    Target,
)


def _make_recompute_row(first, last):
    """The conv+activation of one row, keeping c and t; the last one's outputs are not needed."""

    @njit(**OPTIONS)
    def recompute_row(net, image, targets, scratch, kept, row):
        rk, ru = scratch.ring_k, scratch.ring_u
        norm1, inverse1, scale1, shift1 = image.norm, image.inverse, image.scale, image.shift
        norm2, inverse2 = targets.norm, targets.inverse
        kept_c, kept_t = kept.c, kept.t
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
            store(kept_c, row.kept + o, c)
            store(kept_t, row.kept + o, t)
            if not last:
                s12 = splat(norm1, f1) * load(norm2, f2)
                inverse12 = splat(inverse1, f1) * load(inverse2, f2)
                k, derivative = expectations(net.activation, c, s12, inverse12)
                u = fma(t, derivative, k)
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

    return recompute_row


_recompute_first = _make_recompute_row(True, False)
_recompute_inner = _make_recompute_row(False, False)
_recompute_first_last = _make_recompute_row(True, True)
_recompute_last = _make_recompute_row(False, True)


def _make_reverse_row(first, last):
    """Adjoints through conv+activation of one row; `first` and `last` as in the forward pass."""

    @njit(**OPTIONS)
    def reverse_row(net, image, targets, scratch, kept, row, target):
        rk, ru = scratch.ring_k, scratch.ring_u
        norm1, inverse1 = image.norm, image.inverse
        norm2, inverse2 = targets.norm, targets.inverse
        kept_c, kept_t, d_norms = kept.c, kept.t, kept.d_norms
        ak, au = target.k, target.u
        lanes = net.lanes
        nothing = 0.0 * load(kept_c, row.kept)
        left_k = nothing
        left_u = nothing
        middle_k = nothing
        middle_u = nothing
        for x in range(row.width):
            o = x * lanes
            k = nothing
            u = nothing
            live = True
            kb = nothing
            ub = nothing
            if last:
                at = target.odd if (target.x0 + x) & 1 else target.even
                live = at >= 0 and x < row.active
                if live:
                    at += ((target.x0 + x) >> target.shift) * target.step
                    kb = load(ak, at)
                    ub = load(au, at)
            else:
                kb = load(rk, row.above + o) + load(rk, row.here + o) + load(rk, row.below + o)
                ub = load(ru, row.above + o) + load(ru, row.here + o) + load(ru, row.below + o)
            if live:
                f1 = row.norms1 + x
                f2 = row.norms2 + o
                c = load(kept_c, row.kept + o)
                t = load(kept_t, row.kept + o)
                s2 = load(norm2, f2)
                s12 = splat(norm1, f1) * s2
                inverse12 = splat(inverse1, f1) * load(inverse2, f2)
                kb = kb + ub
                derivative, q, d12 = pullback(net.activation, c, t, kb, ub, s12, inverse12)
                d = row.d_norms + o
                store(d_norms, d, fma(d12, s2, load(d_norms, d)))
                if first:
                    k = row.weight * fma(kb + ub, derivative, q)
                else:
                    k = row.weight * fma(kb, derivative, q)
                    u = row.weight * (ub * derivative)
            if x > 0:
                store(rk, row.out + o - lanes, left_k + middle_k + k)
                if not first:
                    store(ru, row.out + o - lanes, left_u + middle_u + u)
            left_k = middle_k
            middle_k = k
            left_u = middle_u
            middle_u = u
        o = row.out + (row.width - 1) * lanes
        store(rk, o, left_k + middle_k)
        if not first:
            store(ru, o, left_u + middle_u)

    return reverse_row


_reverse_first = _make_reverse_row(True, False)
_reverse_inner = _make_reverse_row(False, False)
_reverse_first_last = _make_reverse_row(True, True)
_reverse_last = _make_reverse_row(False, True)


@njit(**OPTIONS)
def _image_row(net, ring, row, x2, at2, d_image, at1):
    """Add one row of adjoints of the inner products, times the targets, to the image's."""
    lanes = net.lanes
    for x in range(row.width):
        o = x * lanes
        k = load(ring, row.above + o) + load(ring, row.here + o) + load(ring, row.below + o)
        at = x * net.channels * lanes
        for c in range(net.channels):
            d = at1 + at + c * lanes
            store(d_image, d, fma(k, load(x2, at2 + at + c * lanes), load(d_image, d)))


@njit(**OPTIONS)
def _input_row(lanes, ring, row, tiles, at):
    """Overwrite one row of an input tile by its adjoint."""
    for x in range(row.width):
        o = x * lanes
        total = load(ring, row.above + o) + load(ring, row.here + o) + load(ring, row.below + o)
        store(tiles, at + o, total)


@njit(**OPTIONS)
def _recompute_tile(net, s, places, image, targets, at, scratch, kept):
    """One offset of one segment forward, keeping what enters each activation."""
    segment = net.segments[s]
    lanes = net.lanes
    row_size = net.row_size
    n_layers = segment[N_LAYERS]
    y0, x0, height, width, d_offset, _ = places
    for tick in range(height + n_layers):
        if tick < height:
            input_row(net, s, tick, places, image, targets, at, scratch)
        for layer in range(n_layers):
            y = tick - 1 - layer
            if y < 0 or y >= height:
                continue
            base = layer * RING * row_size
            p = (y0 + y) * segment[WIDTH] + x0
            start = net.starts[segment[FIRST_LAYER] + layer] + p
            first = s == 0 and layer == 0
            last = layer == n_layers - 1
            row = Row(
                ring_row(base, y - 1, height, row_size),
                ring_row(base, y, height, row_size),
                ring_row(base, y + 1, height, row_size),
                0 if last else ring_row(base + RING * row_size, y, height, row_size),
                width,
                0,
                at.norms1 + start,
                at.norms2 + (start + d_offset) * lanes,
                (layer * net.tile_pixels + p) * lanes,
                0,
                net.weights[segment[FIRST_LAYER] + layer],
            )
            if first and last:
                _recompute_first_last(net, image, targets, scratch, kept, row)
            elif first:
                _recompute_first(net, image, targets, scratch, kept, row)
            elif last:
                _recompute_last(net, image, targets, scratch, kept, row)
            else:
                _recompute_inner(net, image, targets, scratch, kept, row)


@njit(**OPTIONS)
def _reverse_tile(net, s, dy, dx, image, targets, at, scratch, kept):
    """One offset of one segment, from the adjoints of its outputs to those of its inputs."""
    segment = net.segments[s]
    lanes = net.lanes
    row_size = net.row_size
    size_x = segment[WIDTH]
    n_layers = segment[N_LAYERS]
    readout = segment[READOUT]
    y0, x0, height, width, last_height, last_width = tile_bounds(segment, dy, dx)
    step, out_tiles, tile = tile_places(net.segments, s, dy, dx, lanes)
    d_offset = dy * size_x + dx
    places = (y0, x0, height, width, d_offset, tile)
    _recompute_tile(net, s, places, image, targets, at, scratch, kept)
    ak = scratch.sum_k if readout else scratch.tiles_k
    au = scratch.sum_u if readout else scratch.tiles_u
    # Stage j handles layer n_layers - 1 - j; its result goes into ring j.
    for tick in range(height + n_layers):
        for stage in range(n_layers + 1):
            y = tick - stage
            if y < 0 or y >= height:
                continue
            p = (y0 + y) * size_x + x0
            base = (stage - 1) * RING * row_size
            layer = max(0, n_layers - 1 - stage)
            start = net.starts[segment[FIRST_LAYER] + layer] + p
            row = Row(
                ring_row(base, y - 1, height, row_size),
                ring_row(base, y, height, row_size),
                ring_row(base, y + 1, height, row_size),
                ring_row(base + RING * row_size, y, height, row_size),
                width,
                last_width,
                at.norms1 + start,
                at.norms2 + (start + d_offset) * lanes,
                (layer * net.tile_pixels + p) * lanes,
                start * lanes,
                net.weights[segment[FIRST_LAYER] + layer],
            )
            if stage == n_layers:
                if s == 0:
                    at2 = at.pixels2 + (p + d_offset) * net.channels * lanes
                    at1 = p * net.channels * lanes
                    _image_row(net, scratch.ring_k, row, targets.pixels, at2, kept.d_pixels, at1)
                else:
                    begin = tile + p * lanes
                    _input_row(lanes, scratch.ring_k, row, scratch.tiles_k, begin)
                    _input_row(lanes, scratch.ring_u, row, scratch.tiles_u, begin)
                continue
            even = -1
            odd = -1
            if stage == 0 and y < last_height:
                even = row_target(segment, y0 + y, dy, dx, 0, out_tiles, lanes)
                odd = row_target(segment, y0 + y, dy, dx, 1, out_tiles, lanes)
            target = Target(ak, au, x0, even, odd, segment[POOLS], step)
            first = s == 0 and layer == 0
            if first and stage == 0:
                _reverse_first_last(net, image, targets, scratch, kept, row, target)
            elif stage == 0:
                _reverse_last(net, image, targets, scratch, kept, row, target)
            elif first:
                _reverse_first(net, image, targets, scratch, kept, row, target)
            else:
                _reverse_inner(net, image, targets, scratch, kept, row, target)


@njit(**OPTIONS)
def _fold(values, lanes, out):
    """Sum over lanes: (n, lanes), flat, into `out` (n,)."""
    for n in range(len(out)):
        total = values[n * lanes]
        for lane in range(1, lanes):
            total += values[n * lanes + lane]
        out[n] = total


@cached
def reverse_tasks(tasks, net, image, targets, scratch, kept, ntk, cotangent, d_pixels, d_norms):
    """Gradients of tasks, int64 (n, 4): image, first group, end group, row of the results.

    `cotangent` is flat (n1, groups * lanes). Row by row `d_pixels` (n, H * W * C) and `d_norms`
    (n, n_features) receive the gradient with respect to the image and to its norms.
    """
    lanes = net.lanes
    scratch.ring_k[:] = 0
    scratch.ring_u[:] = 0
    n_columns = len(targets.norm) // net.n_features
    for task in range(len(tasks)):
        i = tasks[task, 0]
        kept.d_pixels[:] = 0
        kept.d_norms[:] = 0
        for group in range(tasks[task, 1], tasks[task, 2]):
            at = pair_at(net, i, group)
            scratch.tiles_k[:] = 0
            scratch.tiles_u[:] = 0
            forward_segments(net, len(net.segments) - 1, image, targets, at, scratch)
            for lane in range(lanes):
                value = net.readout * cotangent[i * n_columns + group * lanes + lane]
                scratch.sum_u[lane] = value if ntk else 0.0 * value
                scratch.sum_k[lane] = 0.0 * value if ntk else value
            for back in range(len(net.segments)):
                s = len(net.segments) - 1 - back
                segment = net.segments[s]
                for dy in range(-segment[RADIUS_Y], segment[RADIUS_Y] + 1):
                    for dx in range(-segment[RADIUS_X], segment[RADIUS_X] + 1):
                        _reverse_tile(net, s, dy, dx, image, targets, at, scratch, kept)
        row = tasks[task, 3]
        _fold(kept.d_pixels, lanes, d_pixels[row])
        _fold(kept.d_norms, lanes, d_norms[row])
