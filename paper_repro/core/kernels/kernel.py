"""The hinge of the program: what every kernel, cheap or convolutional, offers to KRR and KIP.

A KIP step splits its backward pass (arXiv 2107.13034, section 3): the KRR adjoint, small and in
float64, turns the loss into cotangents of `k_ss` and `k_ts`; pulling those back to the support
images is independent work per block. So a backend offers two things, a block of the kernel matrix
and the vector-Jacobian product of that block with respect to its first argument; everything else
uses whole matrices and gradients, which `blocks` puts together. A kernel is symmetric,
k(x, y) = k(y, x), so for `k_ss` the cotangent G + G^T with the second argument held constant
gives the whole gradient, and one routine serves both matrices.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Self, get_args

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import blocks
from paper_repro.core.kernels.blocks import Get, Images, Progress
from paper_repro.core.kernels.pool import WHOLE_STEP, Pool
from paper_repro.core.kernels.pool.held import RemoteImages
from paper_repro.core.kernels.pool.in_process import InProcess
from paper_repro.core.kernels.prepared import Array, Prepared, as_images
from paper_repro.core.kernels.scale import Scaled, scaled
from paper_repro.core.kernels.tracing import is_traced, require_concrete, require_outside_jit


class Kernel(abc.ABC):
    """A positive semi-definite kernel between images.

    Users call `kernel(x1, x2)`, `vjp`, `with_pullback`, `prepare` and `hold`. Backends implement
    `block` and `block_vjp`, and override `prepare` and `block_and_pullback` where that saves work;
    those primitives evaluate one block here and now, and `blocks` alone calls them. A kernel is
    pickled as the call that made it, so a process elsewhere evaluates blocks with its equal.
    Kernels are compared by what they compute and how, so that what JAX has compiled for one serves
    its equals.

    Attributes:
      name: the name in result rows, for instance `FC1` or `RBF`.
      dtype: type of the entries, float32 or float64; inputs are cast to it.
      get: which of the two kernels of a network is meant when a call does not say.
      parameters: learnable positive hyperparameters by name; most kernels have none.
      block_pairs: entries in one block of a whole matrix.
      block_side: the most rows in one block of a whole matrix.
      gradient_block: the most rows of the first and of the second argument in one block of a
        gradient. It decides the order of sums, so it belongs to the kernel and not to the place
        where blocks are evaluated, and to the identity of a run.
      pool: the place where blocks are evaluated.
      needs_device: whether JAX computes its entries, on the device that it uses.

    Example:
      >>> import numpy as np
      >>> from paper_repro.core.kernels import network_kernel
      >>> kernel = network_kernel("fc1")
      >>> x = np.eye(4, dtype="float32").reshape(4, 2, 2, 1)
      >>> k, pullback = kernel.with_pullback(x[:1], x)
      >>> k.shape, pullback(np.ones((1, 4))).shape
      ((1, 4), (1, 2, 2, 1))
    """

    name: str
    dtype: np.dtype
    get: Get = "ntk"
    parameters: Mapping[str, float] = MappingProxyType({})
    block_pairs: int = 2**22
    block_side: int = 1024
    gradient_block: tuple[int, int] = WHOLE_STEP
    pool: Pool = InProcess()
    needs_device: bool = True

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """A kernel that knows the call that makes it."""
        kernel = super().__new__(cls)
        kernel._recipe = cls, args, tuple(sorted(options.items()))
        return kernel

    @property
    def gradient_cut(self) -> tuple[int, int]:
        """`gradient_block`, unless the pool cuts the second argument otherwise."""
        rows, columns = self.gradient_block
        return rows, self.pool.block_rows or columns

    def __reduce__(self) -> tuple:
        return _made, self._recipe

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Kernel) or type(self) is not type(other):
            return NotImplemented
        return self._identity == other._identity and self._blocks == other._blocks

    def __hash__(self) -> int:
        return hash((type(self), self._identity))

    @property
    def _identity(self) -> Hashable:
        """What decides its entries; subclasses add their options of how they are computed."""
        return self.definition, tuple(sorted(self.parameters.items()))

    @property
    def _blocks(self) -> tuple:
        """How matrices are cut and where blocks are evaluated, which may be set later."""
        return self.block_pairs, self.block_side, self.pool

    @property
    def definition(self) -> str:
        """What decides its entries but for learnable parameters and rounding, as text."""
        return f"{self.name} {self.get} {self.dtype.name}"

    def __call__(
        self,
        x1: Images,
        x2: Images | None = None,
        get: Get | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """The whole matrix k(x1, x2), or k(x1, x1), block by block; see `blocks.kernel_matrix`.

        What JAX traces is a traced computation, of the kernels that have one; others refuse it.

        Args:
          x1: images (n1, ...), prepared or not: arrays of real numbers, or nested lists of them.
          x2: images (n2, ...) of the same shape; None for x1.
          get: `ntk` or `nngp`; None for the kernel's own default. Kernels that are not those of
            a network ignore it.
          progress: called as progress(pairs done, pairs in all) after every block.

        Returns:
          (n1, n2) array of the kernel's dtype.

        Raises:
          UserError: images of several shapes or too small for the network, or an unknown `get`.
        """
        x1, x2 = _as_images(x1, x2)
        if self._is_traced(x1, x2):
            return self._traced(x1, x2, get)
        return blocks.kernel_matrix(self, x1, x2, get, progress)

    def vjp(
        self,
        x1: Images,
        x2: Images | None,
        cotangent: Array,
        get: Get | None = None,
        argument: int = 1,
        progress: Progress | None = None,
    ) -> Array:
        """Gradient of `sum(cotangent * self(x1, x2))` with respect to x1 (or x2: argument=2).

        With x2 None both sides of the self kernel move. See `blocks.kernel_vjp`.
        """
        x1, x2 = _as_images(x1, x2)
        require_outside_jit(x1, x2, cotangent)
        return blocks.kernel_vjp(self, x1, x2, cotangent, get, argument, progress)

    def with_pullback(
        self, x1: Array | Prepared, x2: Images, get: Get | None = None
    ) -> tuple[Array, Callable[[Array], Array]]:
        """The matrix k(x1, x2) and the function from its cotangent to the gradient of x1.

        `x2` is held constant, also where it is `x1`. See `blocks.with_pullback`.
        """
        x1, x2 = _as_images(x1, x2)
        return blocks.with_pullback(self, x1, x2, get)

    def hold(self, x: Array) -> Prepared | RemoteImages:
        """`prepare(x)`, kept where blocks are evaluated: for images of many calls, as targets are.

        What comes back goes wherever prepared images do, and so do rows of it.
        """
        return self.pool.hold(self.prepare(as_images(x)))

    def parameter_vjp(self, x1: Array, x2: Images, cotangent: Array) -> Mapping[str, float]:
        """Gradient of `sum(cotangent * self(x1, x2))` with respect to `parameters`, by name."""
        x1, x2 = _as_images(x1, x2)
        return blocks.parameter_vjp(self, x1, x2, cotangent) if self.parameters else {}

    def with_parameters(self, parameters: Mapping[str, float]) -> Self:
        """The same kernel with other values of its learnable hyperparameters.

        Raises:
          UserError: they are not the parameters of this kernel.
        """
        if parameters:
            raise UserError(f"the kernel {self.name} has no learnable parameters")
        return self

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
          Where a patch has no variance (zeros, and no bias), every layer of it has the mean of its
          one-sided derivatives.
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

    def transposes(self, n1: int, n2: int) -> bool:
        """Whether k(x1, x2) of n1 and n2 images is better computed as k(x2, x1)^T.

        Asked once for a whole matrix, so that its bits do not depend on how it is cut.
        """
        del n1, n2
        return False

    @property
    def _is_homogeneous(self) -> bool:
        """Whether k(a x, b y) = a b k(x, y) for a, b > 0, but for rounding."""
        return False

    def _scaled(self, x1: Array | Prepared, x2: Array | Prepared) -> Scaled | None:
        """Images whose kernel is in range where that of `x1` and `x2` is not; else None."""
        if not self._is_homogeneous or self._is_traced(x1, x2):
            return None
        return scaled(x1, x2, self.dtype)

    def _is_traced(self, *images: Array | Prepared | None) -> bool:
        """Whether a call with `images` is a traced computation."""
        return is_traced(*images)

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        """The matrix as a traced computation, differentiable in both arguments."""
        require_outside_jit(x1, x2)
        raise AssertionError("only what is traced comes here")

    def block_parameter_vjp(
        self, x1: Array | Prepared, x2: Array | Prepared, cotangent: Array
    ) -> Mapping[str, float]:
        """Gradient of `sum(cotangent * block(x1, x2))` with respect to `parameters`."""
        del x1, x2, cotangent
        return {}


def _as_images(x1: Images, x2: Images | None) -> tuple[Images, Images | None]:
    """Both arguments as arrays; what was one object stays one."""
    first = as_images(x1)
    if x2 is None or x2 is x1:
        return first, x2 if x2 is None else first
    return first, as_images(x2)


def _made(cls: type[Kernel], args: tuple, options: tuple[tuple[str, Any], ...]) -> Kernel:
    """The kernel of a recipe; that of the last recipes is kept, with what it has compiled."""
    try:
        return _kept(cls, args, options)
    except TypeError:  # what cannot be hashed, such as learned parameters
        return cls(*args, **dict(options))


@functools.lru_cache(maxsize=8)
def _kept(cls: type[Kernel], args: tuple, options: tuple[tuple[str, Any], ...]) -> Kernel:
    return cls(*args, **dict(options))


def known_get(get: Get) -> Get:
    """`get`, which must be one of the kernels of a network.

    Raises:
      UserError: it is neither `ntk` nor `nngp`.
    """
    if get not in get_args(Get):
        raise UserError(f"unknown kernel {get!r}: choose ntk or nngp")
    return get
