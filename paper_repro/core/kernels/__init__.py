"""Kernels between images, behind one interface (`kernel.Kernel`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    from paper_repro.core.kernels.factory import network_kernel
    from paper_repro.core.kernels.kernel import Kernel

__all__ = ["from_name", "network_kernel"]


def __getattr__(name: str) -> Any:
    """`network_kernel`, when it is asked for: it imports JAX, which this package does not."""
    if name != "network_kernel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paper_repro.core.kernels.factory import network_kernel

    return network_kernel


def from_name(architecture: str, kernel: str, dtype: str = "float32") -> Kernel:
    """The kernel that a result row names.

    Args:
      architecture: `RBF`, `Laplace`, or a network as `architecture.from_name` takes it.
      kernel: `NTK` or `NNGP` for a network; the architecture's name otherwise.
      dtype: of the entries.

    Raises:
      UserError: unknown architecture or kernel.
    """
    from paper_repro.core.kernels import dot_product
    from paper_repro.core.kernels.factory import network_kernel

    distances = {"rbf": dot_product.rbf, "laplace": dot_product.laplace}
    if architecture.lower() in distances:
        return distances[architecture.lower()](dtype=dtype)
    if kernel not in ("NTK", "NNGP"):
        raise UserError(f"unknown kernel {kernel!r} of a network: choose NTK or NNGP")
    return network_kernel(architecture, dtype=dtype, get=kernel.lower())
