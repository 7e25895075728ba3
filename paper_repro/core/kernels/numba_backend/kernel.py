"""The numba backend as a `Kernel`: arrays in, lanes and threads inside, arrays out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from paper_repro.core.kernels.architecture import Architecture
from paper_repro.core.kernels.callback import traced_matrix
from paper_repro.core.kernels.kernel import Get, known_get
from paper_repro.core.kernels.lanes import BYTES
from paper_repro.core.kernels.numba_backend import forward, reverse, variance
from paper_repro.core.kernels.numba_backend.tables import Side, Tables, tables
from paper_repro.core.kernels.plan import plan
from paper_repro.core.kernels.planned import PlannedKernel
from paper_repro.core.kernels.prepared import Array, Prepared, images_of, require_images
from paper_repro.core.kernels.tracing import is_tracer, require_concrete
from paper_repro.core.machine.threads import for_each, pieces
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
      architecture: stacks of conv+activation, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.
      threads: None for all cores that the process may use. Results do not depend on it.
    """

    block_pairs = 2**15
    needs_device = False
    # A tenth of a second or more on a core: short enough to be spread, long enough to travel.
    gradient_block = 32, 256

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

    @property
    def _identity(self) -> Hashable:
        return super()._identity, self.threads

    def transposes(self, n1: int, n2: int) -> bool:
        """Whether lanes that would stay empty make it worth while; see `Kernel.transposes`."""
        return 4 * n2 * -(-n1 // self._lanes) < 3 * n1 * -(-n2 // self._lanes)

    def _is_traced(self, *images: Array | Prepared | None) -> bool:
        return is_tracer(*images)

    def prepare(self, x: Array) -> Prepared:
        """Images with the norms (n, n_features) that enter every activation."""
        require_images(x)
        require_concrete(x)
        # What is compiled for read-only arrays, as views of JAX's are, is compiled once more.
        images = np.require(images_of(x), self.dtype, "CW")
        table = self._tables(images.shape[1:])
        n_features = table.network.n_features
        norms = np.empty((len(images), n_features), self.dtype)
        for start in range(0, len(images), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            found = self._norms(self._to_lanes(images[part], table), table)
            norms[part] = self._from_lanes(found, n_features)[: len(images[part])]
        return Prepared(images, (norms,), self._maker)

    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """Entries (n1, n2); where `x1 is x2`, only those on and above the diagonal are computed.

        See `Kernel.block`.
        """
        if self._is_traced(x1, x2):
            return self._traced(x1, x2, get)
        require_images(x1, x2)
        if moved := self._scaled(x1, x2):
            return moved.entries(self.block(moved.x1, moved.x2, get))
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
        if moved := self._scaled(x1, x2):
            return self.block_vjp(moved.x1, moved.x2, moved.cotangent(cotangent), get)
        p1, p2 = self._prepared(x1), self._prepared(x2)
        cotangent = self._cotangent(cotangent, p1, p2)
        table = self._tables(p1.shape[1:])
        net = table.network
        dx = np.zeros((len(p1), net.n_pixels * net.channels), self.dtype)
        d_norms = np.zeros((len(p1), net.n_features), self.dtype)
        image, ntk = self._leading(p1, table), self._is_ntk(get)
        for start in range(0, len(p2), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            rows, d_image, d_norm = self._reverse(image, p2[part], cotangent[:, part], ntk, table)
            np.add.at(dx, rows, d_image)
            np.add.at(d_norms, rows, d_norm)
        if len(p1):
            dx += self._norms_vjp(p1, d_norms, table)
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

    def _to_lanes(self, values: np.ndarray, table: Tables) -> np.ndarray:
        """(n, ...) as flat (groups, ..., lanes); the last group repeats the last row."""
        lanes = self._lanes
        groups = -(-len(values) // lanes)
        flat = values.reshape(len(values), -1)
        out = table.zeros(groups * lanes * flat.shape[1])
        grid = out.reshape(groups, flat.shape[1], lanes)
        for group in range(groups):
            rows = np.minimum(np.arange(group * lanes, (group + 1) * lanes), len(flat) - 1)
            grid[group] = flat[rows].T
        return out

    def _from_lanes(self, values: np.ndarray, size: int) -> np.ndarray:
        """Flat (groups, size, lanes) as (groups * lanes, size)."""
        return values.reshape(-1, size, self._lanes).transpose(0, 2, 1).reshape(-1, size)

    def _for_each(self, work: Callable[[np.ndarray], None], tasks: np.ndarray) -> None:
        for_each(work, pieces(tasks, self.threads), self.threads)

    def _norms(self, images: np.ndarray, table: Tables) -> np.ndarray:
        """Norms, flat (groups, features, lanes), of images in lanes."""
        net = table.variance
        groups = images.size // (net.n_pixels * net.channels * self._lanes)
        norms = table.zeros(groups * net.n_features * self._lanes)

        def work(part: np.ndarray) -> None:
            variance.variance_tasks(part, net, images, table.variance_scratch(), norms)

        self._for_each(work, np.arange(groups))
        return norms

    def _norms_vjp(self, p1: Prepared, d_norms: np.ndarray, table: Tables) -> np.ndarray:
        """Gradient of `sum(d_norms * norms)` with respect to the images, (n, H * W * C)."""
        images = self._to_lanes(p1.images, table)
        norms = self._to_lanes(p1.features[0], table)
        d_lanes = self._to_lanes(d_norms, table)
        d_pixels = table.zeros(images.size)

        def work(part: np.ndarray) -> None:
            scratch = table.variance_scratch()
            variance.variance_vjp_tasks(
                part, table.variance, images, scratch, norms, d_lanes, d_pixels
            )

        self._for_each(work, np.arange(-(-len(p1) // self._lanes)))
        size = table.network.n_pixels * table.network.channels
        return self._from_lanes(d_pixels, size)[: len(p1)]

    def _leading(self, p1: Prepared, table: Tables) -> Side:
        """The leading images; see `Side`."""
        net = table.network
        norms = np.ascontiguousarray(p1.features[0])
        inverse = _inverse(norms)
        stops = [*net.starts[1:], net.n_features]
        weights = np.repeat(net.weights, np.subtract(stops, net.starts))
        arrays = (p1.images, norms, inverse, weights * inverse, net.b_variance * inverse)
        return Side(*(np.ascontiguousarray(a).ravel() for a in arrays))

    def _targets(self, p2: Prepared, table: Tables) -> Side:
        """The targets in lanes; see `Side`."""
        norms = self._to_lanes(p2.features[0], table)
        inverse = table.zeros(norms.size)
        inverse[:] = _inverse(norms)
        return Side(
            self._to_lanes(p2.images, table), norms, inverse, table.zeros(0), table.zeros(0)
        )

    def _block(self, p1: Prepared, p2: Prepared, ntk: bool, symmetric: bool) -> np.ndarray:
        table = self._tables(p1.shape[1:])
        lanes = self._lanes
        image = self._leading(p1, table)
        out = np.empty((len(p1), len(p2)), self.dtype)
        for start in range(0, len(p2), _COLUMNS):
            part = p2[start : start + _COLUMNS]
            groups = -(-len(part) // lanes)
            first, group = np.meshgrid(np.arange(len(p1)), np.arange(groups), indexing="ij")
            tasks = np.stack([first.ravel(), group.ravel()], 1)
            if symmetric:
                tasks = tasks[start + (tasks[:, 1] + 1) * lanes > tasks[:, 0]]
            targets = self._targets(part, table)
            result = np.zeros((len(p1), groups * lanes), self.dtype)

            def work(piece: np.ndarray, targets=targets, result=result) -> None:
                forward.forward_tasks(
                    piece, table.network, image, targets, table.scratch(), ntk, result
                )

            self._for_each(work, tasks)
            out[:, start : start + _COLUMNS] = result[:, : len(part)]
        if symmetric:
            lower = np.tril_indices(len(p1), -1)
            out[lower] = out.T[lower]
        return out

    def _reverse(
        self, image: Side, p2: Prepared, cotangent: np.ndarray, ntk: bool, table: Tables
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What one set of columns contributes to the gradients of the images and their norms.

        Returns:
          Of each task its image, int64 (n,), and the gradients (n, H * W * C) and (n, n_features).
        """
        n1, lanes, net = len(cotangent), self._lanes, table.network
        groups = -(-len(p2) // lanes)
        # The grouping fixes the order of summation, so it must not depend on the threads.
        per_task = groups if n1 >= 32 else 8
        tasks = [
            (i, first, min(groups, first + per_task))
            for i in range(n1)
            for first in range(0, groups, per_task)
        ]
        tasks = np.array([(*task, row) for row, task in enumerate(tasks)], np.int64).reshape(-1, 4)
        padded = np.zeros((n1, groups * lanes), self.dtype)
        padded[:, : len(p2)] = cotangent
        targets = self._targets(p2, table)
        d_pixels = np.zeros((len(tasks), net.n_pixels * net.channels), self.dtype)
        d_norms = np.zeros((len(tasks), net.n_features), self.dtype)

        def work(piece: np.ndarray) -> None:
            reverse.reverse_tasks(
                piece,
                net,
                image,
                targets,
                table.scratch(),
                table.kept(),
                ntk,
                padded.ravel(),
                d_pixels,
                d_norms,
            )

        self._for_each(work, tasks)
        return tasks[:, 0], d_pixels, d_norms


def _not_finite(p: Prepared) -> np.ndarray:
    """Which images have a NaN or an infinite pixel or norm, (n,)."""
    finite = np.isfinite(p.images).all(axis=tuple(range(1, p.images.ndim)))
    return ~(finite & np.isfinite(p.features[0]).all(1))


@functools.lru_cache(maxsize=64)
def _tables_of(architecture: Architecture, shape: tuple[int, ...], dtype: np.dtype) -> Tables:
    return tables(plan(architecture, shape), dtype)


def _inverse(norms: np.ndarray) -> np.ndarray:
    """1 / norms, and 0 where a norm is 0."""
    return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
