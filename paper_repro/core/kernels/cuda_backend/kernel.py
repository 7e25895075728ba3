"""The cuda backend as a `Kernel`: packed images stay on the card, kernel entries come back."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np

from paper_repro.core.kernels.architecture import Architecture
from paper_repro.core.kernels.cuda_backend.device import cuda_device
from paper_repro.core.kernels.cuda_backend.source import Program, program, refusal
from paper_repro.core.kernels.jax_backend.kernel import JaxKernel, norms_vjp
from paper_repro.core.kernels.kernel import Get
from paper_repro.core.kernels.planned import PlannedKernel
from paper_repro.core.kernels.pool.cards import current_card
from paper_repro.core.kernels.prepared import Array, Prepared, on_the_host, require_images
from paper_repro.core.kernels.tracing import require_concrete, require_outside_jit

_PER_PART = 16
"""Targets whose gradients a block of threads adds; it fixes the order of the sums."""

_THREADS = 32


class StoredRows(np.ndarray):
    """Row numbers, int32 (n,), of packed images on the card; rows of it refer to the same ones.

    Attributes:
      store: the packed images that the numbers count, on every card that has needed them.
    """

    store: Any = None

    def __array_finalize__(self, source: Any) -> None:
        self.store = getattr(source, "store", None)


class _Store:
    """Packed images: put on a card when a block is first evaluated there."""

    def __init__(self, kernel: CudaKernel, prepared: Prepared):
        self._kernel, self._prepared = kernel, prepared
        self._packed: dict[int, Any] = {}

    def here(self) -> Any:
        """The packed images on the card of this thread."""
        card = current_card()
        if card not in self._packed:
            self._packed[card] = self._kernel._packed(self._prepared)
        return self._packed[card]


class CudaKernel(PlannedKernel):
    """NTK or NNGP of a convolutional architecture on an NVIDIA card.

    `prepare` leaves images on the card with what the kernels need of them; rows of prepared images
    stay there. What these kernels do not execute (see `source.refusal`) and what JAX traces goes to
    the jax backend, the former with one notice.

    Args:
      architecture: stacks of conv+activation, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.
      devices: where kernels run, by the number of the card that evaluates a block (see
        `pool.cards`); by default the cards of this machine.
    """

    block_pairs = 2**20

    def __init__(
        self,
        architecture: Architecture,
        dtype: Any = "float32",
        get: Get = "ntk",
        devices: tuple[Any, ...] | None = None,
    ):
        super().__init__(architecture, dtype, get)
        self._jax = JaxKernel(architecture, dtype, get)
        self._given_devices = devices
        self._noticed = False

    @property
    def device(self) -> Any:
        """Where kernels run."""
        card = current_card()
        return cuda_device(card) if self._given_devices is None else self._given_devices[card]

    @property
    def _identity(self) -> Hashable:
        return super()._identity, self._given_devices

    def prepare(self, x: Array) -> Prepared:
        """Images, their standard deviations (n, n_features), and where they lie on the card.

        Arrays of NumPy, JAX and CuPy, which are copied from the card once.
        """
        x = on_the_host(x)
        require_images(x)
        require_outside_jit(x)
        prepared = self._jax.prepare(x)
        if not len(prepared) or self._program(prepared.shape[1:]) is None:
            return prepared
        rows = np.arange(len(prepared), dtype=np.int32).view(StoredRows)
        rows.store = _Store(self, prepared)
        rows.store.here()
        return Prepared(prepared.images, (*prepared.features, rows), self._maker)

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
        program_ = self._program(x1.shape[1:])
        if program_ is None:
            return self._jax.block(x1, x2, get)
        p1 = self._prepared(x1)
        p2 = p1 if symmetric else self._prepared(x2)
        n1, n2 = len(p1), len(p2)
        if 0 in (n1, n2):
            return np.zeros((n1, n2), self.dtype)
        device = self.device
        (images1, rows1), (images2, rows2) = self._on_card(p1), self._on_card(p2)
        out = device.empty(n1 * n2, self.dtype)
        device.launch(
            program_, "forward", n1 * n2,
            images1, images2, rows1, rows2, n1, n2, int(self._is_ntk(get)), int(symmetric), out,
        )  # fmt: skip
        matrix = device.download(out).reshape(n1, n2)
        if symmetric:
            lower = np.tril_indices(n1, -1)
            matrix[lower] = matrix.T[lower]
        return matrix

    def block_vjp(
        self, x1: Array | Prepared, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """Gradient with respect to `x1`, of its shape; see `Kernel.block_vjp`."""
        require_images(x1, x2)
        require_outside_jit(x1, x2, cotangent)
        if moved := self._scaled(x1, x2):
            return self.block_vjp(moved.x1, moved.x2, moved.cotangent(cotangent), get)
        program_ = self._program(x1.shape[1:])
        if program_ is None:
            return self._jax.block_vjp(x1, x2, cotangent, get)
        p1, p2 = self._prepared(x1), self._prepared(x2)
        cotangent = self._cotangent(on_the_host(cotangent), p1, p2)
        n1, n2 = cotangent.shape
        if not cotangent.size:
            return np.zeros(p1.shape, self.dtype)
        device = self.device
        (images1, rows1), (images2, rows2) = self._on_card(p1), self._on_card(p2)
        parts = -(-n2 // _PER_PART)
        size = n1 * program_.gradient_size
        partial = device.empty(parts * size, self.dtype)
        device.launch(
            program_, "reverse", n1 * parts,
            images1, images2, rows1, rows2, device.upload(cotangent),
            n1, n2, _PER_PART, parts, int(self._is_ntk(get)), partial,
        )  # fmt: skip
        whole = device.empty(size, self.dtype)
        blocks = -(-size // (_THREADS * program_.warps("fold")))
        device.launch(program_, "fold", blocks, partial, np.int64(size), parts, whole)
        gradient = device.download(whole).reshape(n1, -1)
        n_pixels = int(np.prod(p1.shape[1:]))
        pulled = norms_vjp(self.plan(p1.shape[1:]), p1.images, gradient[:, n_pixels:])
        dx = gradient[:, :n_pixels] + pulled.reshape(n1, -1)
        dx[np.isnan(dx).any(1)] = np.nan
        return dx.reshape(p1.shape)

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        """The matrix as a traced computation, by the jax backend."""
        return self._jax._traced(x1, x2, self.get if get is None else get)

    def _program(self, shape: tuple[int, ...]) -> Program | None:
        """What executes the plan for images of `shape`; None leaves it to the jax backend."""
        planned = self.plan(shape)
        reason = refusal(planned, self.dtype)
        if reason is None:
            return program(planned, self.dtype)
        if not self._noticed:
            self._noticed = True
            warnings.warn(
                f"{self.name} in {self.dtype.name} runs on the jax backend: {reason}", stacklevel=3
            )
        return None

    def _packed(self, prepared: Prepared) -> Any:
        """The images on the card as the kernels read them."""
        device, program_ = self.device, self._program(prepared.shape[1:])
        count = len(prepared) * program_.image_size
        packed = device.empty(count, self.dtype)
        device.launch(
            program_, "pack", -(-count // (_THREADS * program_.warps("pack"))),
            device.upload(np.ascontiguousarray(prepared.images, self.dtype)),
            device.upload(np.ascontiguousarray(prepared.features[0], self.dtype)),
            np.int64(count), packed,
        )  # fmt: skip
        return packed

    def _on_card(self, p: Prepared) -> tuple[Any, Any]:
        """Packed images and the row numbers of those of `p` among them."""
        require_concrete(p)
        rows = p.features[1] if len(p.features) > 1 else None
        store = getattr(rows, "store", None)
        if store is None:
            rows, store = np.arange(len(p), dtype=np.int32), self._packed(p)
        else:
            store = store.here()
        return store, self.device.upload(np.asarray(rows, np.int32))
