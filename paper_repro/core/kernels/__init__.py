"""Kernels between images, behind one interface (`kernel.Kernel`).

`network_kernel` makes the kernel of a network, for use by hand. Scripts describe a kernel by a
`KernelSpec` and how it is computed by an `Execution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.kernels.execution import Execution, from_name
from paper_repro.core.kernels.spec import KernelSpec

if TYPE_CHECKING:
    from paper_repro.core.kernels.factory import network_kernel

__all__ = ["Execution", "KernelSpec", "from_name", "network_kernel"]


def __getattr__(name: str) -> Any:
    """`network_kernel`, when it is asked for: it imports JAX, which this package does not."""
    if name != "network_kernel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return lazy.module("paper_repro.core.kernels.factory").network_kernel
