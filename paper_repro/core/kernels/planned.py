"""What the backends that execute a plan have in common: a network, and its plan for an image."""

from __future__ import annotations

from typing import Any

from paper_repro.core.architecture import Architecture
from paper_repro.core.kernels.kernel import Array, Get, Kernel, Prepared, known_get
from paper_repro.core.kernels.planner import Plan, plan
from paper_repro.core.kernels.precision import float_dtype


class PlannedKernel(Kernel):
    """NTK or NNGP of a convolutional architecture.

    Args:
      architecture: stacks of conv+ReLU, pools between, Flatten or GlobalAvgPool, Dense.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, the default of `block`.
    """

    def __init__(self, architecture: Architecture, dtype: Any, get: Get):
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

    def _is_ntk(self, get: Get | None) -> bool:
        return known_get(self.get if get is None else get) == "ntk"

    def _prepared(self, x: Array | Prepared) -> Prepared:
        return x if isinstance(x, Prepared) and x.made_by == self._maker else self.prepare(x)
