"""Reverse mode with respect to the image, the targets in lanes held constant.

After the forward pass has left every segment's input tiles, segments are walked backwards. An
offset's chain is recomputed row by row, keeping the correlation c and the tangent kernel t that
enter each ReLU, and the adjoints flow back through the same pipeline of rows, a 3x3 sum being its
own transpose. A tile that was read is overwritten by its adjoint. For adjoints kb and ub of a
ReLU's outputs k' = s12 J1(c) and u' = k' + t J0(c), with c = k / s12 and s12 = s1 s2,

    q   = ub t / (2 pi sin(theta) s12)
    dt  = ub J0
    dk  = (kb + ub) J0 + q
    ds1 = ((kb + ub) sin(theta) / 2 pi - c q) s2

where q is zero at coincident patches. ds1 is collected per layer and image; the pass over
variances pulls it back to the pixels.
"""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.numba_backend.forward import (
    RING,
    dot_row,
    forward_segments,
    ring_row,
    row_target,
    tile_bounds,
    tile_places,
    tile_row,
)
from paper_repro.core.kernels.numba_backend.lanes import fma, load, splat, store
from paper_repro.core.kernels.numba_backend.relu import derivatives, expectations
from paper_repro.core.kernels.numba_backend.stamp import stamped
from paper_repro.core.kernels.numba_backend.tables import (
    FIRST_RELU,
    N_RELU,
    POOLS,
    RADIUS_X,
    RADIUS_Y,
    READOUT,
    WIDTH,
)


def _make_recompute_row(first, last):
    """The conv+ReLU of one row, keeping c and t; the last layer's ReLU itself is not needed."""

    @njit(nogil=True)
    def recompute_row(
        rk, ru, above, here, below, width, lanes, side1, scale1, shift1, at1,
        side2, inverse2, at2, weight, constants, kept_c, kept_t, kept, out,
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
            store(kept_c, kept + o, c)
            store(kept_t, kept + o, t)
            if not last:
                j1, j0 = expectations(c, threshold)
                k = splat(side1, at1 + x) * load(side2, f2) * j1
                u = fma(t, j0, k)
                if x > 0:
                    store(rk, out + o - lanes, left_k + middle_k + k)
                    store(ru, out + o - lanes, left_u + middle_u + u)
                left_k = middle_k
                left_u = middle_u
                middle_k = k
                middle_u = u
        if not last:
            o = out + (width - 1) * lanes
            store(rk, o, left_k + middle_k)
            store(ru, o, left_u + middle_u)

    return recompute_row


_recompute_first = _make_recompute_row(True, False)
_recompute_inner = _make_recompute_row(False, False)
_recompute_first_last = _make_recompute_row(True, True)
_recompute_last = _make_recompute_row(False, True)


def _make_reverse_row(first, last):
    """Adjoints through conv+ReLU of one row; `first` and `last` as in the forward pass."""

    @njit(nogil=True)
    def reverse_row(
        ak, au, above, here, below, width, active, lanes, x0, even, odd, shift, step,
        inverse1, at1, side2, inverse2, at2, weight, constants, kept_c, kept_t, kept,
        d_side, d_at, rk, ru, out,
    ):  # fmt: skip
        nothing = 0.0 * load(kept_c, kept)
        left_k = nothing
        left_u = nothing
        middle_k = nothing
        middle_u = nothing
        threshold = constants[2]
        for x in range(width):
            o = x * lanes
            k = nothing
            u = nothing
            live = True
            kb = nothing
            ub = nothing
            if last:
                at = odd if (x0 + x) & 1 else even
                live = at >= 0 and x < active
                if live:
                    at += ((x0 + x) >> shift) * step
                    kb = load(ak, at)
                    ub = load(au, at)
            else:
                kb = load(ak, above + o) + load(ak, here + o) + load(ak, below + o)
                ub = load(au, above + o) + load(au, here + o) + load(au, below + o)
            if live:
                f2 = at2 + o
                c = load(kept_c, kept + o)
                t = load(kept_t, kept + o)
                j0, sine, inverse_sine = derivatives(c, threshold)
                inverse12 = splat(inverse1, at1 + x) * load(inverse2, f2)
                q = (ub * t) * (inverse_sine * inverse12)
                kb = kb + ub
                d12 = kb * sine - c * q
                d = d_at + o
                store(d_side, d, fma(d12, load(side2, f2), load(d_side, d)))
                if first:
                    k = weight * fma(kb + ub, j0, q)
                else:
                    k = weight * fma(kb, j0, q)
                    u = weight * (ub * j0)
            if x > 0:
                store(rk, out + o - lanes, left_k + middle_k + k)
                if not first:
                    store(ru, out + o - lanes, left_u + middle_u + u)
            left_k = middle_k
            middle_k = k
            left_u = middle_u
            middle_u = u
        o = out + (width - 1) * lanes
        store(rk, o, left_k + middle_k)
        if not first:
            store(ru, o, left_u + middle_u)

    return reverse_row


_reverse_first = _make_reverse_row(True, False)
_reverse_inner = _make_reverse_row(False, False)
_reverse_first_last = _make_reverse_row(True, True)
_reverse_last = _make_reverse_row(False, True)


@njit(nogil=True)
def _image_row(rk, above, here, below, width, channels, lanes, x2, at2, d_image, at1):
    """Add one row of adjoints of the inner products, times the targets, to the image's."""
    for x in range(width):
        o = x * lanes
        k = load(rk, above + o) + load(rk, here + o) + load(rk, below + o)
        at = x * channels * lanes
        for c in range(channels):
            d = at1 + at + c * lanes
            store(d_image, d, fma(k, load(x2, at2 + at + c * lanes), load(d_image, d)))


@njit(nogil=True)
def _input_row(ring, above, here, below, width, lanes, tiles, at):
    """Overwrite one row of an input tile by its adjoint."""
    for x in range(width):
        o = x * lanes
        total = load(ring, above + o) + load(ring, here + o) + load(ring, below + o)
        store(tiles, at + o, total)


@njit(nogil=True)
def _reverse_tile(
    segments, s, dy, dx, x1, at_x1, side1, inverse1, scale1, shift1, at1,
    x2, at_x2, side2, inverse2, at2, weights, starts, constants, channels, lanes,
    tiles_k, tiles_u, seed_k, seed_u, ring_k, ring_u, row_size, kept_c, kept_t, tile_pixels,
    d_image, d_side,
):  # fmt: skip
    """One offset of one segment, from the adjoints of its outputs to those of its inputs."""
    segment = segments[s]
    size_x = segment[WIDTH]
    n_relu = segment[N_RELU]
    pools = segment[POOLS]
    readout = segment[READOUT]
    y0, x0, height, width, last_height, last_width = tile_bounds(segment, dy, dx)
    step, out_tiles, tile = tile_places(segments, s, dy, dx, lanes)
    d_offset = dy * size_x + dx

    for tick in range(height + n_relu):
        if tick < height:
            out = ring_row(0, tick, height, row_size)
            p = (y0 + tick) * size_x + x0
            if s == 0:
                q = p + d_offset
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
            p = (y0 + row) * size_x + x0
            f1 = at1 + starts[relu] + p
            f2 = at2 + (starts[relu] + p + d_offset) * lanes
            kept = (layer * tile_pixels + p) * lanes
            first = s == 0 and layer == 0
            last = layer == n_relu - 1
            out = 0 if last else ring_row(base + RING * row_size, row, height, row_size)
            if first and last:
                _recompute_first_last(
                    ring_k, ring_u, above, here, below, width, lanes, side1, scale1, shift1, f1,
                    side2, inverse2, f2, weights[relu], constants, kept_c, kept_t, kept, out,
                )  # fmt: skip
            elif first:
                _recompute_first(
                    ring_k, ring_u, above, here, below, width, lanes, side1, scale1, shift1, f1,
                    side2, inverse2, f2, weights[relu], constants, kept_c, kept_t, kept, out,
                )  # fmt: skip
            elif last:
                _recompute_last(
                    ring_k, ring_u, above, here, below, width, lanes, side1, scale1, shift1, f1,
                    side2, inverse2, f2, weights[relu], constants, kept_c, kept_t, kept, out,
                )  # fmt: skip
            else:
                _recompute_inner(
                    ring_k, ring_u, above, here, below, width, lanes, side1, scale1, shift1, f1,
                    side2, inverse2, f2, weights[relu], constants, kept_c, kept_t, kept, out,
                )  # fmt: skip

    # Back: stage j handles layer n_relu - 1 - j; its result goes into ring j.
    for tick in range(height + n_relu):
        for stage in range(n_relu + 1):
            row = tick - stage
            if row < 0 or row >= height:
                continue
            y = y0 + row
            p = y * size_x + x0
            base = (stage - 1) * RING * row_size
            above = ring_row(base, row - 1, height, row_size)
            here = ring_row(base, row, height, row_size)
            below = ring_row(base, row + 1, height, row_size)
            if stage == n_relu:
                if s == 0:
                    _image_row(
                        ring_k, above, here, below, width, channels, lanes,
                        x2, at_x2 + (p + d_offset) * channels * lanes,
                        d_image, p * channels * lanes,
                    )  # fmt: skip
                else:
                    at = tile + p * lanes
                    _input_row(ring_k, above, here, below, width, lanes, tiles_k, at)
                    _input_row(ring_u, above, here, below, width, lanes, tiles_u, at)
                continue
            layer = n_relu - 1 - stage
            relu = segment[FIRST_RELU] + layer
            f1 = starts[relu] + p
            f2 = at2 + (f1 + d_offset) * lanes
            kept = (layer * tile_pixels + p) * lanes
            out = ring_row(base + RING * row_size, row, height, row_size)
            first = s == 0 and layer == 0
            if stage == 0:
                even = -1
                odd = -1
                if row < last_height:
                    even = row_target(segment, y, dy, dx, 0, out_tiles, lanes)
                    odd = row_target(segment, y, dy, dx, 1, out_tiles, lanes)
                ak = seed_k if readout else tiles_k
                au = seed_u if readout else tiles_u
                if first:
                    _reverse_first_last(
                        ak, au, 0, 0, 0, width, last_width, lanes, x0, even, odd, pools, step,
                        inverse1, at1 + f1, side2, inverse2, f2, weights[relu], constants,
                        kept_c, kept_t, kept, d_side, f1 * lanes, ring_k, ring_u, out,
                    )  # fmt: skip
                else:
                    _reverse_last(
                        ak, au, 0, 0, 0, width, last_width, lanes, x0, even, odd, pools, step,
                        inverse1, at1 + f1, side2, inverse2, f2, weights[relu], constants,
                        kept_c, kept_t, kept, d_side, f1 * lanes, ring_k, ring_u, out,
                    )  # fmt: skip
            elif first:
                _reverse_first(
                    ring_k, ring_u, above, here, below, width, width, lanes, x0, 0, 0, 0, 0,
                    inverse1, at1 + f1, side2, inverse2, f2, weights[relu], constants,
                    kept_c, kept_t, kept, d_side, f1 * lanes, ring_k, ring_u, out,
                )  # fmt: skip
            else:
                _reverse_inner(
                    ring_k, ring_u, above, here, below, width, width, lanes, x0, 0, 0, 0, 0,
                    inverse1, at1 + f1, side2, inverse2, f2, weights[relu], constants,
                    kept_c, kept_t, kept, d_side, f1 * lanes, ring_k, ring_u, out,
                )  # fmt: skip


@njit(nogil=True)
def _fold(values, lanes, out):
    """Sum over lanes."""
    for n in range(len(out)):
        total = values[n * lanes]
        for lane in range(1, lanes):
            total += values[n * lanes + lane]
        out[n] = total


@stamped
@njit(nogil=True, cache=True)
def reverse_tasks(
    tasks, segments, x1, side1, inverse1, scale1, shift1, x2, side2, inverse2,
    weights, starts, constants, n_pixels, channels, n_features, lanes,
    tiles_k, tiles_u, sums, rings, row_size, kept, tile_pixels, d_image, d_side,
    ntk, cotangent, d_x1, d_side1,
):  # fmt: skip
    """Gradients of tasks (image, first group, end group, row of the results).

    `cotangent` is flat (n1, groups * lanes); `d_x1` and `d_side1` receive, per task, the gradient
    with respect to the image's pixels and to its standard deviations.
    """
    n_rings = len(rings) // 2
    ring_k = rings[:n_rings]
    ring_u = rings[n_rings:]
    kept_c = kept[: len(kept) // 2]
    kept_t = kept[len(kept) // 2 :]
    seed_k = sums[:lanes]
    seed_u = sums[lanes:]
    ring_k[:] = 0
    ring_u[:] = 0
    n_columns = len(side2) // n_features
    for task in range(len(tasks)):
        i = tasks[task, 0]
        d_image[:] = 0
        d_side[:] = 0
        for group in range(tasks[task, 1], tasks[task, 2]):
            at_x2 = group * n_pixels * channels * lanes
            at2 = group * n_features * lanes
            tiles_k[:] = 0
            tiles_u[:] = 0
            forward_segments(
                segments, 0, len(segments) - 1, x1, i * n_pixels * channels,
                side1, scale1, shift1, i * n_features,
                x2, at_x2, side2, inverse2, at2,
                weights, starts, constants, channels, lanes,
                tiles_k, tiles_u, seed_k, seed_u, ring_k, ring_u, row_size,
            )  # fmt: skip
            for lane in range(lanes):
                value = constants[1] * cotangent[i * n_columns + group * lanes + lane]
                seed_u[lane] = value if ntk else 0.0 * value
                seed_k[lane] = 0.0 * value if ntk else value
            for back in range(len(segments)):
                s = len(segments) - 1 - back
                segment = segments[s]
                for dy in range(-segment[RADIUS_Y], segment[RADIUS_Y] + 1):
                    for dx in range(-segment[RADIUS_X], segment[RADIUS_X] + 1):
                        _reverse_tile(
                            segments, s, dy, dx, x1, i * n_pixels * channels,
                            side1, inverse1, scale1, shift1, i * n_features,
                            x2, at_x2, side2, inverse2, at2,
                            weights, starts, constants, channels, lanes,
                            tiles_k, tiles_u, seed_k, seed_u, ring_k, ring_u, row_size,
                            kept_c, kept_t, tile_pixels, d_image, d_side,
                        )  # fmt: skip
        row = tasks[task, 3]
        _fold(d_image, lanes, d_x1[row])
        _fold(d_side, lanes, d_side1[row])
