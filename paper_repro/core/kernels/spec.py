"""What a row's kernel is: plain values, without what computes it."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from paper_repro.core.errors import UserError

Backend = Literal["auto", "numba", "jax", "cuda", "neural_tangents"]

DISTANCES = ("RBF", "Laplace")
"""Kernels of the distance between two images, which no network has."""


@dataclasses.dataclass(frozen=True)
class KernelSpec:
    """The kernel that a result row names.

    Attributes:
      architecture: `RBF`, `Laplace`, or a network as `architecture.from_name` takes it.
      kernel: `NTK` or `NNGP` for a network; the name of the distance for RBF and Laplace.
      scale: factor of the distance in RBF and Laplace kernels; None for 1.
      learn_scale: whether KIP learns the scale with the images.

    Raises:
      UserError: a kernel of a network that is neither NTK nor NNGP, or a scale of a network.

    Example:
      >>> KernelSpec("convnet").kernel
      'NTK'
      >>> KernelSpec("rbf", scale=0.5, learn_scale=True)
      KernelSpec(architecture='RBF', kernel='RBF', scale=0.5, learn_scale=True)
    """

    architecture: str
    kernel: str = "NTK"
    scale: float | None = None
    learn_scale: bool = False

    def __post_init__(self):
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(f"the scale of a kernel must be positive and finite, not {self.scale}")
        if self.is_distance:
            (name,) = (d for d in DISTANCES if d.lower() == self.architecture.lower())
            object.__setattr__(self, "architecture", name)
            object.__setattr__(self, "kernel", name)
            return
        if self.kernel not in ("NTK", "NNGP"):
            raise UserError(f"unknown kernel {self.kernel!r} of a network: choose NTK or NNGP")
        if self.scale is not None or self.learn_scale:
            raise UserError(f"{self.architecture} has no scale: only RBF and Laplace do")

    @property
    def is_distance(self) -> bool:
        """Whether it is a kernel of the distance between images: RBF or Laplace."""
        return self.architecture.lower() in [name.lower() for name in DISTANCES]
