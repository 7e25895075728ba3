"""A plan executed on one block of pairs: a scan over offsets, segment after segment.

Arrays are pixels first and pairs last: images (H, W, n, C), norms one (H, W, n) per layer, tiles
(H, W, n1, n2), the covariance at all offsets of a segment
(2 ry + 1, 2 rx + 1, H, W, n1, n2). Two travel together, k and u = k + t (t the tangent kernel).
The reverse mode keeps the inputs of the segments alone and recomputes one offset at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from paper_repro.core.kernels.plan import Plan, Radius
from paper_repro.core.kernels.sharding import varying_alike
from paper_repro.core.kernels.tracing import second_derivative

Tiles = tuple[jax.Array, jax.Array]
Norms = tuple[jax.Array, ...]


def _box(tile: jax.Array, window: int) -> jax.Array:
    """Sums over a window of pixels of a tile, zeros outside; its own transpose."""
    for axis in (0, 1):
        padding = [(window // 2,) * 2 if a == axis else (0, 0) for a in range(tile.ndim)]
        padded = jnp.pad(tile, padding)
        size = tile.shape[axis]
        tile = sum(jax.lax.slice_in_dim(padded, a, a + size, axis=axis) for a in range(window))
    return tile


def _offsets(radius: Radius) -> jax.Array:
    ry, rx = radius
    dy, dx = jnp.meshgrid(jnp.arange(-ry, ry + 1), jnp.arange(-rx, rx + 1), indexing="ij")
    return jnp.stack([dy.ravel(), dx.ravel()], 1)


def _shift(values: jax.Array, offset: jax.Array, radius: Radius) -> jax.Array:
    """values(p + offset), zero outside the image; |offset| <= radius."""
    padding = [(radius[0],) * 2, (radius[1],) * 2, *[(0, 0)] * (values.ndim - 2)]
    start = (offset[0] + radius[0], offset[1] + radius[1], *[0] * (values.ndim - 2))
    return jax.lax.dynamic_slice(jnp.pad(values, padding), start, values.shape)


def _inside(height: int, width: int, offset: jax.Array, dtype) -> jax.Array:
    """1 where p + offset lies inside the image, (H, W, 1, 1)."""
    y, x = jnp.arange(height) + offset[0], jnp.arange(width) + offset[1]
    rows, columns = (y >= 0) & (y < height), (x >= 0) & (x < width)
    return (rows[:, None] & columns[None, :])[:, :, None, None].astype(dtype)


class _Block:
    """The plan's segments for one block; `radii` are those of pairs or of variances."""

    def __init__(self, plan: Plan, radii: Sequence[Radius], out_radius: Radius):
        self.plan = plan
        self.radii = [*radii, out_radius]
        starts = [0]
        for segment in plan.segments:
            starts.append(starts[-1] + segment.n_layers)
        self.layers = [slice(a, b) for a, b in itertools.pairwise(starts)]

    def dot(self, x1, x2, offset):
        """Inner products of pixels p and p + offset, (H, W, n1, n2)."""
        shifted = _shift(x2, offset, self.radii[0])
        channels = range(x1.shape[-1])
        return sum(x1[:, :, :, None, c] * shifted[:, :, None, :, c] for c in channels)

    def convolved(self, s: int, layer: int, k: jax.Array) -> jax.Array:
        """Covariances after the convolution of a layer of segment `s`."""
        weight = self.plan.inner_weight(s) if layer else self.plan.input_weight(s)
        return self.plan.architecture.b_std**2 + weight * _box(k, self.plan.segments[s].window)

    def chain(self, s: int, k, u, s1: Norms, s2: Norms, offset):
        """The layers of segment `s` on one tile; u None where t = k (the input)."""
        segment = self.plan.segments[s]
        inside = _inside(segment.height, segment.width, offset, k.dtype)
        for layer in range(segment.n_layers):
            k = self.convolved(s, layer, k)
            t = k if u is None else self.convolved(s, layer, u)
            norms1 = s1[layer][:, :, :, None]
            norms2 = _shift(s2[layer], offset, self.radii[s])[:, :, None, :]
            k, u = self.activated(s, k, t, norms1, norms2, inside)
            # The tangent kernel of no pixel does not vanish by itself.
            u = u * inside
        return k, u

    def activated(self, s: int, k, t, s1, s2, inside):
        """A tile after an activation of segment `s`; s1 and s2, its norms, are broadcast."""
        phi = self.plan.segments[s].activation
        # Outside of the second image there is no pixel, and its norm is 0.
        if not phi.vanishes:
            k = jnp.where(inside > 0, k, 0)
        k, u = phi.layer(k, t, s1, s2)
        return k * inside, u

    def parts(self, s: int, offset):
        """How a tile adds into the output: (row parity, column parity, index, mask) each."""
        segment = self.plan.segments[s]
        ry, rx = self.radii[s + 1]
        for ay in range(segment.pool):
            for ax in range(segment.pool):
                dy, dx = (offset[0] + ay) // segment.pool, (offset[1] + ax) // segment.pool
                wanted = (jnp.abs(dy) <= ry) & (jnp.abs(dx) <= rx)
                mask = _inside(segment.out_height, segment.out_width, (dy, dx), jnp.bool_)
                index = jnp.clip(dy + ry, 0, 2 * ry), jnp.clip(dx + rx, 0, 2 * rx)
                yield ay, ax, index, mask & wanted

    def add(self, s: int, out: jax.Array, tile: jax.Array, offset) -> jax.Array:
        """Add the tile of one offset, pooled, into the output of segment `s`."""
        segment = self.plan.segments[s]
        size, step = (segment.out_height, segment.out_width), segment.pool
        for ay, ax, (row, column), mask in self.parts(s, offset):
            part = tile[ay::step, ax::step][: size[0], : size[1]]
            out = out.at[row, column].add(jnp.where(mask, part, 0))
        return out

    def spread(self, s: int, adjoint: jax.Array, offset) -> jax.Array:
        """Transpose of `add`: the adjoint of one offset's tile."""
        segment = self.plan.segments[s]
        step = segment.pool
        shape = (segment.height, segment.width, *adjoint.shape[4:])
        tile = jnp.zeros(shape, adjoint.dtype)
        for ay, ax, (row, column), mask in self.parts(s, offset):
            part = jnp.where(mask, adjoint[row, column], 0)
            rows = slice(ay, step * segment.out_height, step)
            columns = slice(ax, step * segment.out_width, step)
            tile = tile.at[rows, columns].set(part)
        return tile

    def empty(self, s: int, n1: int, n2: int, dtype) -> jax.Array:
        """Zeros for the output of segment `s`."""
        segment, (ry, rx) = self.plan.segments[s], self.radii[s + 1]
        shape = (2 * ry + 1, 2 * rx + 1, segment.out_height, segment.out_width, n1, n2)
        return jnp.zeros(shape, dtype)


def _flat(tiles: jax.Array) -> jax.Array:
    """Offsets as one leading axis to scan over."""
    return tiles.reshape(-1, *tiles.shape[2:])


def _pairs(plan: Plan) -> _Block:
    return _Block(plan, [s.radius for s in plan.segments], plan.out_radius)


def _forward(plan: Plan, x1, s1: Norms, x2, s2: Norms) -> list[Tiles]:
    """The output of every segment."""
    block = _pairs(plan)
    outputs: list[Tiles] = []
    for s in range(len(plan.segments)):
        layers = block.layers[s]
        inputs = [_flat(a) for a in outputs[-1]] if s else None

        def step(carry, item, s=s, layers=layers):
            offset, tiles = item
            k, u = (block.dot(x1, x2, offset), None) if tiles is None else tiles
            k, u = block.chain(s, k, u, s1[layers], s2[layers], offset)
            return (block.add(s, carry[0], k, offset), block.add(s, carry[1], u, offset)), None

        empty = varying_alike(block.empty(s, x1.shape[2], x2.shape[2], x1.dtype), x1)
        output, _ = jax.lax.scan(step, (empty, empty), (_offsets(block.radii[s]), inputs))
        outputs.append(output)
    return outputs


def _reverse(
    plan: Plan, x1, s1: Norms, x2, s2: Norms, outputs, d_k, d_u
) -> tuple[jax.Array, Norms]:
    """Gradient with respect to x1 and s1, from the adjoint of each readout sum, (n1, n2)."""
    block = _pairs(plan)
    adjoints = tuple(
        jnp.broadcast_to(d, output.shape) for d, output in zip((d_k, d_u), outputs[-1], strict=True)
    )
    d_x1, d_s1 = varying_alike((jnp.zeros_like(x1), [jnp.zeros_like(s) for s in s1]), x1)
    for s in reversed(range(len(plan.segments))):
        layers = block.layers[s]
        inputs = [_flat(a) for a in outputs[s - 1]] if s else None

        def step(carry, item, s=s, layers=layers, adjoints=adjoints):
            offset, tiles = item
            d_tile = tuple(block.spread(s, a, offset) for a in adjoints)

            def tile(source, stds):
                k, u = (block.dot(source, x2, offset), None) if tiles is None else source
                return block.chain(s, k, u, stds, s2[layers], offset)

            source = x1 if tiles is None else tuple(tiles)
            _, pull = jax.vjp(tile, source, tuple(s1[layers]))
            d_source, d_stds = pull(d_tile)
            d_x, so_far = carry
            so_far = tuple(a + b for a, b in zip(so_far, d_stds, strict=True))
            if tiles is None:
                return (d_x + d_source, so_far), None
            return (d_x, so_far), d_source

        carry = (d_x1, tuple(d_s1[layers]))
        (d_x1, d_s1[layers]), d_inputs = jax.lax.scan(
            step, carry, (_offsets(block.radii[s]), inputs)
        )
        if s:
            adjoints = tuple(
                d.reshape(a.shape) for d, a in zip(d_inputs, outputs[s - 1], strict=True)
            )
    return d_x1, tuple(d_s1)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def block_entries(plan: Plan, ntk: bool, x1, s1: Norms, x2, s2: Norms) -> jax.Array:
    """Kernel entries (n1, n2) of images (H, W, n, C) with norms (H, W, n)."""
    sums = _forward(plan, x1, s1, x2, s2)[-1][1 if ntk else 0]
    for _ in range(4):
        # Axis by axis: one by one, a million entries of a global average round off 2e-5. Without
        # the barrier XLA makes one sum of the four.
        sums = jax.lax.optimization_barrier(sums.sum(0))
    return plan.architecture.b_std**2 + plan.readout_weight * sums


def block_vjp(plan: Plan, ntk: bool, x1, s1: Norms, x2, s2: Norms, cotangent):
    """Gradient of `sum(cotangent * block_entries)` with respect to x1 and s1."""
    scaled = plan.readout_weight * cotangent
    nothing = jnp.zeros_like(scaled)
    seeds = (nothing, scaled) if ntk else (scaled, nothing)
    return _reverse(plan, x1, s1, x2, s2, _forward(plan, x1, s1, x2, s2), *seeds)


def _entries_fwd(plan, ntk, *operands):
    return block_entries(plan, ntk, *operands), operands


def _entries_bwd(plan, ntk, operands, cotangent):
    x1, s1, x2, s2 = operands
    first = _gradient(plan, ntk, x1, s1, x2, s2, cotangent)
    # k(x, y) = k(y, x); XLA drops this half where nobody asks for it.
    second = _gradient(plan, ntk, x2, s2, x1, s1, cotangent.T)
    return *first, *second


block_entries.defvjp(_entries_fwd, _entries_bwd)
_gradient = jax.custom_jvp(block_vjp, nondiff_argnums=(0, 1))


@_gradient.defjvp
def _no_second_derivative(plan, ntk, primals, tangents):
    raise second_derivative(plan.architecture.name)


def norms(plan: Plan, x: jax.Array) -> Norms:
    """Norms (H, W, n) that enter every activation, of images (H, W, n, C)."""
    block = _Block(plan, [s.variance_radius for s in plan.segments], (0, 0))
    found: list[jax.Array] = []
    tiles = None
    for s, segment in enumerate(plan.segments):
        source = _self_source(block, x, tiles)
        q = source(jnp.zeros(2, int))
        for layer in range(segment.n_layers):
            q = block.convolved(s, layer, q)
            found.append(segment.activation.norm(q))
            q = segment.activation.second_moment(q)
        if s == len(plan.segments) - 1:
            break
        tiles = _self_pool(block, s, source, tuple(found[block.layers[s]]))
    return tuple(found)


def _self_source(block: _Block, x, tiles) -> Callable:
    """The covariance of images with themselves at an offset, (H, W, n), entering a segment."""

    def source(offset):
        if tiles is None:
            return jnp.sum(x * _shift(x, offset, block.radii[0]), -1)
        ry, rx = (a // 2 for a in tiles.shape[:2])
        return tiles[offset[0] + ry, offset[1] + rx]

    return source


def _self_pool(block: _Block, s: int, source: Callable, found: Norms) -> jax.Array:
    """The covariance of images with themselves after segment `s` and its pool."""
    segment = block.plan.segments[s]

    @jax.checkpoint
    def tile(offset, found):
        k = source(offset)
        inside = _inside(segment.height, segment.width, offset, k.dtype)[..., 0]
        for layer, norm in enumerate(found):
            k = block.convolved(s, layer, k)
            shifted = _shift(norm, offset, block.radii[s])
            k, _ = block.activated(s, k, jnp.zeros_like(k), norm, shifted, inside)
        return k

    def step(out, offset):
        return block.add(s, out, tile(offset, found)[:, :, :, None], offset), None

    n = found[0].shape[-1]
    empty = varying_alike(block.empty(s, n, 1, found[0].dtype), found)
    out, _ = jax.lax.scan(step, empty, _offsets(block.radii[s]))
    return out[..., 0]
