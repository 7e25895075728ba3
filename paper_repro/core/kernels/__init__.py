"""Kernels between images, behind one interface (`kernel.Kernel`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    from paper_repro.core.kernels.kernel import Kernel


def from_name(architecture: str, kernel: str, dtype: str = "float32") -> Kernel:
    """The kernel that a result row names.

    Args:
      architecture: `RBF`, `Laplace`, or a network as `architecture.from_name` takes it.
      kernel: `NTK` or `NNGP` for a network; the architecture's name otherwise.
      dtype: of the entries.

    Raises:
      UserError: unknown architecture or kernel.
    """
    from paper_repro.core.architecture import ReLU
    from paper_repro.core.architecture import from_name as network
    from paper_repro.core.kernels import dot_product

    distances = {"rbf": dot_product.rbf, "laplace": dot_product.laplace}
    if architecture.lower() in distances:
        return distances[architecture.lower()](dtype=dtype)
    if kernel not in ("NTK", "NNGP"):
        raise UserError(f"unknown kernel {kernel!r} of a network: choose NTK or NNGP")
    described = network(architecture)
    if not architecture.lower().startswith("fc"):
        raise UserError(f"there is no kernel for {described.name} yet: choose RBF, Laplace or FCn")
    return dot_product.fully_connected_kernel(
        sum(isinstance(layer, ReLU) for layer in described.layers), dtype, kernel.lower()
    )
