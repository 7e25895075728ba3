"""The numba backend as a `Kernel`: arrays in, lanes and threads inside, arrays out."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from paper_repro.core.architecture import Architecture
from paper_repro.core.kernels.arccosine import coincident
from paper_repro.core.kernels.callback import traced_matrix
from paper_repro.core.kernels.kernel import Get, known_get
from paper_repro.core.kernels.numba_backend import forward, reverse, variance
from paper_repro.core.kernels.numba_backend.lanes import BYTES
from paper_repro.core.kernels.numba_backend.tables import Tables, tables
from paper_repro.core.kernels.plan import plan
from paper_repro.core.kernels.planned import PlannedKernel
from paper_repro.core.kernels.pool.threads import for_each, pieces
from paper_repro.core.kernels.prepared import Array, Prepared, images_of, require_images
from paper_repro.core.kernels.tracing import is_tracer, require_concrete
from paper_repro.core.store.provenance import available_cores

# Images whose lanes are laid out at a time; bounds the memory of a block of any size.
_COLUMNS = 1024


class NumbaKernel(PlannedKernel):
    """NTK or NNGP of a convolutional architecture on CPU cores.

    `kernel_fn(x1, x2)` also works under `jax.jit`, `jax.vmap` and `jax.grad`, with respect to
    either argument, by a callback from the compiled program, which must run on a CPU; float64 then
    needs `jax.enable_x64` around the call. What has values there is computed at once, while JAX
    traces. It is differentiated once, in reverse mode, as the jax backend is.

    Args:
      architecture: stacks of conv+ReLU, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.
      threads: None for all cores that the process may use. Results do not depend on it.
    """

    block_pairs = 2**15

    def __init__(
        self,
        architecture: Architecture,
        dtype: Any = "float32",
        get: Get = "ntk",
        threads: int | None = None,
    ):
        super().__init__(architecture, dtype, get)
        self.threads = threads or available_cores()
        self._lanes = BYTES // self.dtype.itemsize

    def transposes(self, n1: int, n2: int) -> bool:
        """Whether lanes that would stay empty make it worth while; see `Kernel.transposes`."""
        return 4 * n2 * -(-n1 // self._lanes) < 3 * n1 * -(-n2 // self._lanes)

    def _is_traced(self, *images: Array | Prepared | None) -> bool:
        return is_tracer(*images)

    def prepare(self, x: Array) -> Prepared:
        """Images with the standard deviations (n, n_features) that enter every ReLU."""
        require_images(x)
        require_concrete(x)
        # What is compiled for read-only arrays, as views of JAX's are, is compiled once more.
        images = np.require(images_of(x), self.dtype, "CW")
        table = self._tables(images.shape[1:])
        std = np.empty((len(images), table.n_features), self.dtype)
        for start in range(0, len(images), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            lanes = self._to_lanes(images[part])
            std[part] = self._from_lanes(self._std(lanes, table), table.n_features)[
                : len(images[part])
            ]
        return Prepared(images, (std,), self._maker)

    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """Entries (n1, n2); where `x1 is x2`, only those on and above the diagonal are computed.

        See `Kernel.block`.
        """
        if self._is_traced(x1, x2):
            return self._traced(x1, x2, get)
        require_images(x1, x2)
        symmetric = x1 is x2
        p1 = self._prepared(x1)
        p2 = p1 if symmetric else self._prepared(x2)
        n1, n2 = len(p1), len(p2)
        if 0 in (n1, n2):
            return np.zeros((n1, n2), self.dtype)
        out = self._block(p1, p2, self._is_ntk(get), symmetric)
        # The expectations order correlations, and comparisons take no notice of a NaN.
        out[_not_finite(p1), :] = np.nan
        out[:, _not_finite(p2)] = np.nan
        return out

    def block_vjp(
        self, x1: Array | Prepared, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """Gradient with respect to `x1`, of its shape; see `Kernel.block_vjp`."""
        require_images(x1, x2)
        require_concrete(x1, x2, cotangent)
        p1, p2 = self._prepared(x1), self._prepared(x2)
        cotangent = self._cotangent(cotangent, p1, p2)
        table = self._tables(p1.shape[1:])
        dx = np.zeros((len(p1), table.n_pixels * table.channels), self.dtype)
        d_std = np.zeros((len(p1), table.n_features), self.dtype)
        side1, ntk = self._side1(p1, table), self._is_ntk(get)
        for start in range(0, len(p2), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            self._reverse(p1, side1, p2[part], cotangent[:, part], ntk, table, dx, d_std)
        if len(p1):
            dx += self._std_vjp(p1, d_std, table)
        dx[_not_finite(p1)] = np.nan
        if _not_finite(p2).any():
            dx[:] = np.nan
        return dx.reshape(p1.shape)

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        """The matrix as a traced computation, differentiable in both arguments."""
        require_images(x1, *(() if x2 is None else (x2,)))
        # A callback cannot refuse: what it could not compute is refused here.
        self.plan(x1.shape[1:])
        return traced_matrix(self, x1, x2, known_get(self.get if get is None else get))

    def _tables(self, shape: tuple[int, ...]) -> Tables:
        return _tables_of(self.architecture, tuple(shape), self.dtype)

    def _to_lanes(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) as flat (groups, ..., lanes); the last group repeats the last row."""
        lanes = self._lanes
        groups = -(-len(values) // lanes)
        flat = values.reshape(len(values), -1)
        out = forward.aligned_zeros(groups * lanes * flat.shape[1], self.dtype)
        grid = out.reshape(groups, flat.shape[1], lanes)
        for group in range(groups):
            rows = np.minimum(np.arange(group * lanes, (group + 1) * lanes), len(flat) - 1)
            grid[group] = flat[rows].T
        return out

    def _from_lanes(self, values: np.ndarray, size: int) -> np.ndarray:
        return values.reshape(-1, size, self._lanes).transpose(0, 2, 1).reshape(-1, size)

    def _scratch(self, size: int) -> np.ndarray:
        return forward.aligned_zeros(size, self.dtype)

    def _std(self, images: np.ndarray, table: Tables) -> np.ndarray:
        """Standard deviations, flat (groups, features, lanes), of images in lanes."""
        groups = images.size // (table.n_pixels * table.channels * self._lanes)
        std = self._scratch(groups * table.n_features * self._lanes)

        def work(part: np.ndarray) -> None:
            variance.variance_tasks(
                part,
                table.variance_segments,
                images,
                *self._numbers(table),
                self._scratch(table.variance_tile_size),
                *self._tile_scratch(table),
                std,
            )

        for_each(work, pieces(np.arange(groups), self.threads), self.threads)
        return std

    def _std_vjp(self, p1: Prepared, d_std: np.ndarray, table: Tables) -> np.ndarray:
        images = self._to_lanes(p1.images)
        std = self._to_lanes(p1.features[0])
        d_lanes = self._to_lanes(d_std)
        dx = self._scratch(images.size)
        groups = -(-len(p1) // self._lanes)

        def work(part: np.ndarray) -> None:
            variance.variance_vjp_tasks(
                part,
                table.variance_segments,
                images,
                *self._numbers(table),
                self._scratch(table.variance_tile_size),
                self._scratch(table.variance_tile_size),
                *self._tile_scratch(table),
                std,
                d_lanes,
                dx,
            )

        for_each(work, pieces(np.arange(groups), self.threads), self.threads)
        return self._from_lanes(dx, table.n_pixels * table.channels)[: len(p1)]

    def _side1(self, p1: Prepared, table: Tables) -> tuple[np.ndarray, ...]:
        """Of the leading images, flat: std, its inverse, weight / std and b^2 / std."""
        std = np.ascontiguousarray(p1.features[0])
        inverse = _inverse(std)
        stops = [*table.starts[1:], table.n_features]
        weights = np.repeat(table.weights, np.subtract(stops, table.starts))
        return tuple(
            a.ravel() for a in (std, inverse, weights * inverse, table.constants[0] * inverse)
        )

    def _side2(self, p2: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the images in lanes: pixels, std and its inverse."""
        std = self._to_lanes(p2.features[0])
        inverse = self._scratch(std.size)
        inverse[:] = _inverse(std)
        return self._to_lanes(p2.images), std, inverse

    def _block(self, p1: Prepared, p2: Prepared, ntk: bool, symmetric: bool) -> np.ndarray:
        table = self._tables(p1.shape[1:])
        lanes = self._lanes
        std, _, scale, shift = self._side1(p1, table)
        x1 = np.ascontiguousarray(p1.images).ravel()
        out = np.empty((len(p1), len(p2)), self.dtype)
        for start in range(0, len(p2), _COLUMNS):
            part = p2[start : start + _COLUMNS]
            groups = -(-len(part) // lanes)
            first, group = np.meshgrid(np.arange(len(p1)), np.arange(groups), indexing="ij")
            tasks = np.stack([first.ravel(), group.ravel()], 1)
            if symmetric:
                tasks = tasks[start + (tasks[:, 1] + 1) * lanes > tasks[:, 0]]
            side2 = self._side2(part)
            result = np.zeros((len(p1), groups * lanes), self.dtype)

            def work(piece: np.ndarray, side2=side2, result=result) -> None:
                forward.forward_tasks(
                    piece,
                    table.segments,
                    x1,
                    std,
                    scale,
                    shift,
                    *side2,
                    *self._numbers(table),
                    *self._row_scratch(table),
                    table.row_size,
                    ntk,
                    result,
                )

            for_each(work, pieces(tasks, self.threads), self.threads)
            out[:, start : start + _COLUMNS] = result[:, : len(part)]
        if symmetric:
            lower = np.tril_indices(len(p1), -1)
            out[lower] = out.T[lower]
        return out

    def _reverse(
        self,
        p1: Prepared,
        side1: tuple[np.ndarray, ...],
        p2: Prepared,
        cotangent: np.ndarray,
        ntk: bool,
        table: Tables,
        dx: np.ndarray,
        d_std: np.ndarray,
    ) -> None:
        """Add what one set of columns contributes to the gradients `dx` and `d_std`."""
        lanes = self._lanes
        groups = -(-len(p2) // lanes)
        # The grouping fixes the order of summation, so it must not depend on the threads.
        per_task = groups if len(p1) >= 32 else 8
        tasks = [
            (i, first, min(groups, first + per_task))
            for i in range(len(p1))
            for first in range(0, groups, per_task)
        ]
        tasks = np.array([(*task, row) for row, task in enumerate(tasks)], np.int64).reshape(-1, 4)
        padded = np.zeros((len(p1), groups * lanes), self.dtype)
        padded[:, : len(p2)] = cotangent
        side2 = self._side2(p2)
        x1 = np.ascontiguousarray(p1.images).ravel()
        d_x1 = np.zeros((len(tasks), dx.shape[1]), self.dtype)
        d_side1 = np.zeros((len(tasks), table.n_features), self.dtype)

        def work(piece: np.ndarray) -> None:
            reverse.reverse_tasks(
                piece,
                table.segments,
                x1,
                *side1,
                *side2,
                *self._numbers(table),
                *self._row_scratch(table),
                table.row_size,
                self._scratch(2 * table.max_relu * table.max_pixels * lanes),
                table.max_pixels,
                self._scratch(dx.shape[1] * lanes),
                self._scratch(table.n_features * lanes),
                ntk,
                padded.ravel(),
                d_x1,
                d_side1,
            )

        for_each(work, pieces(tasks, self.threads), self.threads)
        np.add.at(dx, tasks[:, 0], d_x1)
        np.add.at(d_std, tasks[:, 0], d_side1)

    def _numbers(self, table: Tables) -> tuple:
        return (
            table.weights,
            table.starts,
            table.constants,
            table.n_pixels,
            table.channels,
            table.n_features,
            self._lanes,
        )

    def _row_scratch(self, table: Tables) -> tuple[np.ndarray, ...]:
        """Tiles of k and u, their sums, and the rings of rows."""
        return (
            self._scratch(table.tile_size),
            self._scratch(table.tile_size),
            self._scratch(2 * self._lanes),
            self._scratch(2 * table.max_relu * forward.RING * table.row_size),
        )

    def _tile_scratch(self, table: Tables) -> tuple[np.ndarray, np.ndarray]:
        """Two tiles to work in, and one per ReLU of a segment."""
        size = table.max_pixels * self._lanes
        return (
            self._scratch(2 * size).reshape(2, size),
            self._scratch(table.max_relu * size).reshape(table.max_relu, size),
        )


def _not_finite(p: Prepared) -> np.ndarray:
    """Which images have a NaN or an infinite pixel, (n,)."""
    return ~np.isfinite(p.images).all(axis=tuple(range(1, p.images.ndim)))


@functools.lru_cache(maxsize=64)
def _tables_of(architecture: Architecture, shape: tuple[int, ...], dtype: np.dtype) -> Tables:
    return tables(plan(architecture, shape), dtype, coincident(dtype))


def _inverse(std: np.ndarray) -> np.ndarray:
    """1 / std, and 0 where std is 0."""
    return np.divide(1, std, out=np.zeros_like(std), where=std > 0)
