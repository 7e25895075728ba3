"""What the backends that execute a plan have in common: a network, and its plan for an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import Activation
from paper_repro.core.kernels.architecture import Architecture
from paper_repro.core.kernels.kernel import Get, Kernel, known_get
from paper_repro.core.kernels.plan import Plan, plan, stacks
from paper_repro.core.kernels.precision import float_dtype
from paper_repro.core.kernels.prepared import Array, Prepared


class PlannedKernel(Kernel):
    """NTK or NNGP of a convolutional architecture.

    Args:
      architecture: stacks of conv+activation, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.

    Raises:
      UserError: other layers, or an unknown dtype or `get`.
    """

    def __init__(self, architecture: Architecture, dtype: Any, get: Get):
        stacks(architecture)
        self.name = architecture.name
        self.architecture = architecture
        self.dtype = float_dtype(dtype)
        self.get = known_get(get)

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """The plan for images of `shape` (height, width, channels)."""
        return plan(self.architecture, tuple(shape))

    @property
    def _maker(self) -> tuple[Architecture, str]:
        """What the features of prepared images depend on."""
        return self.architecture, self.dtype.name

    @property
    def definition(self) -> str:
        """See `Kernel.definition`."""
        return f"{super().definition} {self.architecture}"

    @property
    def _is_homogeneous(self) -> bool:
        layers = self.architecture.layers
        activations = [layer for layer in layers if isinstance(layer, Activation)]
        return not self.architecture.b_std and all(phi.homogeneous for phi in activations)

    def block_and_pullback(
        self, x1: Array, x2: Array | Prepared, get: Get | None = None
    ) -> tuple[Array, Callable[[Array], Array]]:
        """See `Kernel.block_and_pullback`; the norms of `x1` are computed once."""
        p1 = self._prepared(x1)
        p2 = p1 if x2 is x1 else x2
        return self.block(p1, p2, get), lambda cotangent: self.block_vjp(p1, p2, cotangent, get)

    def _cotangent(self, cotangent: Array, p1: Prepared, p2: Prepared) -> np.ndarray:
        """`cotangent` (n1, n2) in the kernel's dtype; of another shape it is refused."""
        cotangent = np.asarray(cotangent, self.dtype)
        if cotangent.shape != (len(p1), len(p2)):
            raise UserError(
                f"a cotangent of shape {(len(p1), len(p2))} is needed, got {cotangent.shape}"
            )
        return cotangent

    def _is_ntk(self, get: Get | None) -> bool:
        return known_get(self.get if get is None else get) == "ntk"

    def _prepared(self, x: Array | Prepared) -> Prepared:
        return x if self._has_made(x) else self.prepare(x)

    def _has_made(self, x: Array | Prepared) -> bool:
        """Whether `x` has the features that this kernel would compute."""
        return isinstance(x, Prepared) and x.made_by == self._maker
