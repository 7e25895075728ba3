"""How kernels are computed: an `Execution`, which command lines take and pass on whole.

JAX and Numba are imported when a kernel is made.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paper_repro.core import lazy
from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.spec import Backend, KernelSpec

if TYPE_CHECKING:
    from paper_repro.core.kernels import factory
    from paper_repro.core.kernels.kernel import Kernel
else:
    factory = lazy.module("paper_repro.core.kernels.factory")


@dataclasses.dataclass(frozen=True)
class Execution:
    """How kernels are computed. Results of two executions differ by rounding alone.

    Attributes:
      backend: numba (CPU cores), jax (CPU, GPU or TPU), cuda (an NVIDIA GPU), neural_tangents (the
        slow oracle), or auto: numba where JAX's device is a CPU and the network has a numba form,
        cuda where it is an NVIDIA GPU and the cuda extra is installed, else jax.
      dtype: type of the kernel entries, float32 or float64; the solve is float64 always.
      threads: number of threads of the numba backend; default one for each core.
      pool: the place where blocks of kernel matrices are evaluated; None for this process.

    Example:
      >>> execution = Execution(dtype="float64", threads=1)
      >>> execution.kernel(KernelSpec("fc1")).name
      'FC1'
    """

    backend: Backend = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    pool: tyro.conf.Suppress[Pool | None] = None

    @property
    def recorded(self) -> dict[str, str]:
        """What result rows say of it; a pool's block size may change the last bit, threads none."""
        return {"backend": self.backend, "dtype": self.dtype}

    def kernel(self, spec: KernelSpec) -> Kernel:
        """The kernel that `spec` describes, computed as this execution says.

        Raises:
          UserError: unknown architecture, layers that the backend does not execute, a number of
            threads that is not positive or for a backend that has none.
        """
        return factory.kernel_of(spec, self.backend, self.dtype, self.threads, self.pool)


ExecutionArguments = tyro.conf.OmitArgPrefixes[Annotated[Execution, tyro.conf.arg(name="kernel")]]
"""An execution as an argument of a `main`."""


def from_name(architecture: str, kernel: str = "NTK", dtype: str = "float32") -> Kernel:
    """The kernel that a result row names, computed as suits this machine.

    Args:
      architecture: `RBF`, `Laplace`, or a network as `architecture.from_name` takes it.
      kernel: `NTK` or `NNGP` for a network; the architecture's name otherwise.
      dtype: type of the entries, float32 or float64.

    Raises:
      UserError: unknown architecture or kernel.
    """
    return Execution(dtype=dtype).kernel(KernelSpec(architecture, kernel))
