"""The hinge of the program: what every kernel, cheap or convolutional, offers to KRR and KIP.

A KIP step splits its backward pass (arXiv 2107.13034, section 3): the KRR adjoint, small and in
float64, turns the loss into cotangents of `k_ss` and `k_ts`; pulling those back to the support
images is independent work per block. So a kernel offers two things, a block of the kernel matrix
and the vector-Jacobian product of that block with respect to its first argument. A kernel is
symmetric, k(x, y) = k(y, x), so for `k_ss` the cotangent G + G^T with the second argument held
constant gives the whole gradient, and one routine serves both matrices.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Self, get_args

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.pool.in_process import InProcess
from paper_repro.core.kernels.prepared import Array, Prepared
from paper_repro.core.kernels.tracing import is_traced, require_concrete, require_outside_jit

Get = Literal["ntk", "nngp"]
Progress = Callable[[int, int], None]
"""Called with the number of pairs done and the total after every block."""


class Kernel(abc.ABC):
    """A positive semi-definite kernel between images.

    Attributes:
      name: as written in result rows, for instance `FC1` or `RBF`.
      dtype: of the entries, float32 or float64; inputs are cast to it.
      get: which of the kernels of a network `block` returns when not told.
      parameters: learnable positive hyperparameters by name; most kernels have none.
      block_pairs: entries in one block when a whole matrix is evaluated (`blocks`).
      pool: where blocks are evaluated.
    """

    name: str
    dtype: np.dtype
    get: Get = "ntk"
    parameters: Mapping[str, float] = MappingProxyType({})
    block_pairs: int = 2**22
    pool: Pool = InProcess()

    @property
    def definition(self) -> str:
        """What decides its entries but for learnable parameters and rounding, as text."""
        return f"{self.name} {self.get} {self.dtype.name}"

    def __call__(
        self,
        x1: Array | Prepared,
        x2: Array | Prepared | None = None,
        get: Get | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """The whole matrix k(x1, x2), or k(x1, x1), block by block; see `blocks.kernel_matrix`.

        What JAX traces is a traced computation, of the kernels that have one; others refuse it.
        """
        if self._is_traced(x1, x2):
            return self._traced(x1, x2, get)
        from paper_repro.core.kernels.blocks import kernel_matrix

        return kernel_matrix(self, x1, x2, get, progress)

    def vjp(
        self,
        x1: Array | Prepared,
        x2: Array | Prepared | None,
        cotangent: Array,
        get: Get | None = None,
        argument: int = 1,
        progress: Progress | None = None,
    ) -> Array:
        """Gradient of `sum(cotangent * self(x1, x2))` with respect to x1 (or x2: argument=2).

        With x2 None both sides of the self kernel move. See `blocks.kernel_vjp`.
        """
        from paper_repro.core.kernels.blocks import kernel_vjp

        require_outside_jit(x1, x2, cotangent)
        return kernel_vjp(self, x1, x2, cotangent, get, argument, progress)

    @abc.abstractmethod
    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """Kernel entries k(x1[i], x2[j]).

        Args:
          x1: images (n1, ...), or prepared ones.
          x2: images (n2, ...) of the same shape, or prepared ones.
          get: `ntk` or `nngp`; None for the kernel's own default. Kernels that are not those of
            a network ignore it.

        Returns:
          (n1, n2) array of the kernel's dtype.
        """

    @abc.abstractmethod
    def block_vjp(
        self, x1: Array, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """Gradient of `sum(cotangent * block(x1, x2))` with respect to `x1`, `x2` held constant.

        Args:
          x1: images (n1, ...).
          x2: images (n2, ...), or prepared ones.
          cotangent: (n1, n2).
          get: as for `block`.

        Returns:
          Array of x1's shape and the kernel's dtype. Where an image meets itself the kernel of a
          ReLU network has a kink; the one-sided terms, which cancel on the diagonal, are zero.
        """

    def block_and_pullback(
        self, x1: Array, x2: Array | Prepared, get: Get | None = None
    ) -> tuple[Array, Callable[[Array], Array]]:
        """`block` and the function from a cotangent to `block_vjp`.

        Kernels override it where keeping an intermediate result saves work in the pullback.
        """
        return self.block(x1, x2, get), lambda cotangent: self.block_vjp(x1, x2, cotangent, get)

    def prepare(self, x: Array) -> Prepared:
        """Images in the kernel's dtype with the per-image features that `block` reuses."""
        require_concrete(x)
        return Prepared(np.asarray(x, self.dtype))

    def _is_traced(self, *images: Array | Prepared | None) -> bool:
        """Whether a call with `images` is a traced computation."""
        return is_traced(*images)

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        """The matrix as a traced computation, differentiable in both arguments."""
        require_outside_jit(x1, x2)
        raise AssertionError("only what is traced comes here")

    def with_parameters(self, parameters: Mapping[str, float]) -> Self:
        """The same kernel with other values of its learnable hyperparameters."""
        if parameters:
            raise UserError(f"the kernel {self.name} has no learnable parameters")
        return self

    def parameter_vjp(
        self, x1: Array, x2: Array | Prepared, cotangent: Array
    ) -> Mapping[str, float]:
        """Gradient of `sum(cotangent * block(x1, x2))` with respect to `parameters`."""
        del x1, x2, cotangent
        return {}


def known_get(get: Get) -> Get:
    """`get`, which must be one of the kernels of a network.

    Raises:
      UserError: it is neither `ntk` nor `nngp`.
    """
    if get not in get_args(Get):
        raise UserError(f"unknown kernel {get!r}: choose ntk or nngp")
    return get
