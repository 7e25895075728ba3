"""What the backends that execute a plan have in common: a network, and its plan for an image."""

from __future__ import annotations

from typing import Any

from paper_repro.core.architecture import Architecture
from paper_repro.core.kernels.kernel import Get, Kernel
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
        self.get = get

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """The plan for images of `shape` (height, width, channels)."""
        return plan(self.architecture, tuple(shape))
