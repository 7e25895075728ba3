"""The jax backend as a `Kernel`, and as a function under `jit` and `grad`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.architecture import Architecture
from paper_repro.core.kernels.jax_backend.execute import (
    Norms,
    block_entries,
    block_vjp,
    norms,
)
from paper_repro.core.kernels.jax_backend.tiles import default_pairs, padded, tile_shape
from paper_repro.core.kernels.kernel import Get
from paper_repro.core.kernels.plan import Plan
from paper_repro.core.kernels.planned import PlannedKernel
from paper_repro.core.kernels.precision import on_the_cpu, precision
from paper_repro.core.kernels.prepared import Array, Prepared, images_of, require_images
from paper_repro.core.kernels.sharding import varying_alike, with_automatic_axes
from paper_repro.core.kernels.tracing import require_outside_jit, require_traceable
from paper_repro.core.machine.device import platform

_IMAGES = 256


class JaxKernel(PlannedKernel):
    """NTK or NNGP of a convolutional architecture in plain JAX.

    `kernel_fn(x1, x2)` also works under `jax.jit`, `jax.vmap` and `jax.grad`, with respect to
    either argument; float64 then needs `jax.enable_x64` around the call. It is differentiated once,
    in reverse mode: no forward mode (`jax.jvp`, `jax.jacfwd`), no second derivatives
    (`jax.hessian`).

    Args:
      architecture: stacks of conv+activation, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.
      tile_pairs: image pairs in one compiled call; None for `tiles.default_pairs`, by device and
        plan. Give fewer where a small card runs out of memory.
    """

    block_pairs = 2**14

    def __init__(
        self,
        architecture: Architecture,
        dtype: Any = "float32",
        get: Get = "ntk",
        tile_pairs: int | None = None,
    ):
        super().__init__(architecture, dtype, get)
        self.tile_pairs = tile_pairs

    @property
    def _identity(self) -> Hashable:
        return super()._identity, self.tile_pairs

    def prepare(self, x: Array) -> Prepared:
        """Images with the norms (n, n_features) that enter every activation."""
        require_images(x)
        require_outside_jit(x)
        images = np.ascontiguousarray(images_of(x), self.dtype)
        planned = self.plan(images.shape[1:])
        found = np.empty((len(images), planned.n_features), self.dtype)
        with precision(self.dtype):
            for rows, part in padded(images, min(_IMAGES, len(images))):
                found[rows] = np.asarray(_norm_rows(planned, part))[: rows.stop - rows.start]
        return Prepared(images, (found,), self._maker)

    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """Entries (n1, n2); see `Kernel.block`."""
        if self._is_traced(x1, x2):
            return self._traced(x1, x2, get)
        require_images(x1, x2)
        if moved := self._scaled(x1, x2):
            return moved.entries(self.block(moved.x1, moved.x2, get))
        p1 = self._prepared(x1)
        p2 = p1 if x2 is x1 else self._prepared(x2)
        out = np.empty((len(p1), len(p2)), self.dtype)
        if not out.size:
            return out
        planned, ntk = self.plan(p1.shape[1:]), self._is_ntk(get)
        with precision(self.dtype):
            for rows, columns, part1, part2 in self._tiles(p1, p2):
                tile = _tile(planned, ntk, *part1, *part2)
                out[rows, columns] = np.asarray(tile)[
                    : rows.stop - rows.start, : columns.stop - columns.start
                ]
        return out

    def block_vjp(
        self, x1: Array | Prepared, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """Gradient with respect to `x1`, of its shape; see `Kernel.block_vjp`."""
        require_images(x1, x2)
        require_outside_jit(x1, x2, cotangent)
        if moved := self._scaled(x1, x2):
            return self.block_vjp(moved.x1, moved.x2, moved.cotangent(cotangent), get)
        p1, p2 = self._prepared(x1), self._prepared(x2)
        cotangent = self._cotangent(cotangent, p1, p2)
        planned = self.plan(p1.shape[1:])
        dx = np.zeros(p1.shape, self.dtype)
        if not cotangent.size:
            return dx
        d_norms = np.zeros_like(p1.features[0])
        with precision(self.dtype):
            for rows, columns, part1, part2 in self._tiles(p1, p2):
                seeds = np.zeros((len(part1[0]), len(part2[0])), self.dtype)
                given = cotangent[rows, columns]
                seeds[: given.shape[0], : given.shape[1]] = given
                d_image, d_feature = _tile_vjp(planned, self._is_ntk(get), *part1, *part2, seeds)
                n = rows.stop - rows.start
                dx[rows] += np.asarray(d_image)[:n]
                d_norms[rows] += np.asarray(d_feature)[:n]
        return dx + norms_vjp(planned, p1.images, d_norms)

    def _tile_shape(self, planned: Plan, n1: int, n2: int) -> tuple[int, int]:
        return tile_shape(n1, n2, self.tile_pairs or default_pairs(planned, self.dtype))

    def _tiles(self, p1: Prepared, p2: Prepared) -> Iterator[tuple[slice, slice, tuple, tuple]]:
        """Slices of rows and columns with their padded images and norms."""
        planned = self.plan(p1.shape[1:])
        n_rows, n_columns = self._tile_shape(planned, len(p1), len(p2))
        left = list(_parts(p1, n_rows))
        for columns, part2 in _parts(p2, n_columns):
            for rows, part1 in left:
                yield rows, columns, part1, part2

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        """The matrix as a traced computation, tile after tile, differentiable in both arguments."""
        x2 = x1 if x2 is None else x2
        require_images(x1, x2)
        require_traceable(self.dtype)
        planned, ntk = self.plan(x1.shape[1:]), self._is_ntk(get)
        n1, n2 = len(x1), len(x2)
        if not n1 * n2:
            return jnp.zeros((n1, n2), self.dtype)
        n_rows, n_columns = self._tile_shape(planned, n1, n2)
        whole = partial(_traced_matrix, planned, ntk, (n_rows, n_columns))
        return with_automatic_axes(whole, self._operand(x1), self._operand(x2))

    def _operand(self, x: Array | Prepared) -> tuple[jax.Array, ...]:
        """Images, with their norms if this kernel has computed them."""
        images = jnp.asarray(images_of(x), self.dtype)
        return (images, jnp.asarray(x.features[0], self.dtype)) if self._has_made(x) else (images,)


# Compiled by value, so that a call under `grad` alone compiles nothing that an equal one has.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _traced_matrix(
    planned: Plan,
    ntk: bool,
    tile: tuple[int, int],
    first: tuple[jax.Array, ...],
    second: tuple[jax.Array, ...],
) -> jax.Array:
    """The whole matrix, tile after tile; each side is images, and their norms if at hand."""
    n1, n2 = len(first[0]), len(second[0])
    first, second = varying_alike((first, second))
    left, right = (
        tuple(_stack_rows(a, size) for a in _images_and_norms(planned, side))
        for side, size in zip((first, second), tile, strict=True)
    )

    def row(part1):
        return jax.lax.map(lambda part2: _tile(planned, ntk, *part1, *part2), right)

    tiles = jax.lax.map(row, left)
    whole = tiles.transpose(0, 2, 1, 3).reshape(tiles.shape[0] * tile[0], -1)
    return whole[:n1, :n2]


def _images_and_norms(planned: Plan, side: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    if len(side) == 2:
        return side
    (images,) = side
    on_gpu = platform() == "gpu"
    return images, _norm_rows(planned, _not_differentiated(images) if on_gpu else images)


@jax.custom_vjp
def _not_differentiated(x: jax.Array) -> jax.Array:
    return x


def _refuse_gradient(_, __):
    raise UserError(
        "gradients under jit or grad on a GPU go through a program that XLA compiles wrongly there "
        "(by 3 % and more, jax 0.11.2): use kernel_fn.vjp, which takes that part on the CPU"
    )


_not_differentiated.defvjp(lambda x: (x, None), _refuse_gradient)


def norms_vjp(planned: Plan, images: np.ndarray, d_norms: np.ndarray) -> np.ndarray:
    """Gradient of `sum(d_norms * norms)` with respect to images (n, H, W, C), of their dtype.

    Args:
      planned: the plan for the images.
      images: (n, H, W, C), float32 or float64.
      d_norms: cotangents (n, n_features) of the images' norms.
    """
    dx = np.zeros_like(images)
    size = max(1, min(_IMAGES, len(images)))
    with on_the_cpu(), precision(images.dtype):
        for rows, part in padded(images, size):
            n = rows.stop - rows.start
            seeds = np.zeros((size, d_norms.shape[1]), images.dtype)
            seeds[:n] = d_norms[rows]
            dx[rows] = np.asarray(_norms_vjp(planned, part, seeds))[:n]
    return dx


def _parts(p: Prepared, size: int) -> Iterator[tuple[slice, tuple[jax.Array, jax.Array]]]:
    """Rows with their images and norms, put on the device once."""
    both = zip(padded(p.images, size), padded(p.features[0], size), strict=True)
    for (rows, images), (_, found) in both:
        yield rows, jax.device_put((images, found))


def _stack_rows(values: jax.Array, size: int) -> jax.Array:
    """(n, ...) as (parts, size, ...), the last part filled with copies of the last row."""
    missing = -len(values) % size
    padding = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
    return jnp.pad(values, padding, mode="edge").reshape(-1, size, *values.shape[1:])


def _pixels_first(x: jax.Array) -> jax.Array:
    return jnp.transpose(x, (1, 2, 0, 3))


def _layers(planned: Plan, found: jax.Array) -> Norms:
    """Norms (n, n_features) as one (H, W, n) per layer."""
    layers, start = [], 0
    for segment in planned.segments:
        for _ in range(segment.n_layers):
            size = segment.height * segment.width
            layer = found[:, start : start + size].T
            layers.append(layer.reshape(segment.height, segment.width, -1))
            start += size
    return tuple(layers)


def _rows(layers: Norms) -> jax.Array:
    return jnp.concatenate([layer.reshape(-1, layer.shape[-1]) for layer in layers]).T


@partial(jax.jit, static_argnums=0)
def _norm_rows(planned: Plan, x: jax.Array) -> jax.Array:
    return _rows(norms(planned, _pixels_first(x)))


@partial(jax.jit, static_argnums=0)
def _norms_vjp(planned: Plan, x: jax.Array, d_norms: jax.Array) -> jax.Array:
    return jax.vjp(partial(_norm_rows, planned), x)[1](d_norms)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _tile(planned: Plan, ntk: bool, x1, norms1, x2, norms2) -> jax.Array:
    return block_entries(
        planned, ntk,
        _pixels_first(x1), _layers(planned, norms1), _pixels_first(x2), _layers(planned, norms2),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def _tile_vjp(planned: Plan, ntk: bool, x1, norms1, x2, norms2, cotangent):
    d_x, d_norms = block_vjp(
        planned, ntk,
        _pixels_first(x1), _layers(planned, norms1), _pixels_first(x2), _layers(planned, norms2),
        cotangent,
    )  # fmt: skip
    return jnp.transpose(d_x, (2, 0, 1, 3)), _rows(d_norms)
