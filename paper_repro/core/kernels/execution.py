"""How kernels are computed: an `Execution`, which command lines take and pass on whole.

JAX and Numba are imported when a kernel is made.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.spec import Backend, KernelSpec

if TYPE_CHECKING:
    from paper_repro.core.kernels import factory
    from paper_repro.core.kernels.kernel import Kernel
    from paper_repro.core.kernels.pool import ray as ray_pool
    from paper_repro.core.kernels.pool.ray import RayPool
else:
    ray_pool = lazy.module("paper_repro.core.kernels.pool.ray")
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
      place: where blocks of kernel matrices are evaluated: local (this process), ray (the Ray
        cluster that RAY_ADDRESS names or that runs on this machine, else workers on it), or
        ray://HOST:PORT (docs/cluster.md). Results have the same bits everywhere.
      workers: the most Ray workers; default as many as there is room for.
      worker_cores: CPU cores, and threads, of a Ray worker; default 1.
      worker_cards: accelerators of a Ray worker; default none.
      pool: a pool of one's own in place of `place`.

    Example:
      >>> execution = Execution(dtype="float64", threads=1)
      >>> execution.kernel(KernelSpec("fc1")).name
      'FC1'
    """

    backend: Backend = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    place: Annotated[str, tyro.conf.arg(name="execution")] = "local"
    workers: int | None = None
    worker_cores: int | None = None
    worker_cards: int | None = None
    pool: tyro.conf.Suppress[Pool | None] = None

    def __post_init__(self):
        if not re.fullmatch(r"local|ray|ray://[^/\s:]+:\d+", self.place):
            raise UserError(f"--execution is local, ray or ray://HOST:PORT, not {self.place!r}")
        for name, least in (("workers", 1), ("worker_cores", 1), ("worker_cards", 0)):
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is None:
                continue
            if self.place == "local":
                raise UserError(f"{option} is for --execution ray: leave it out")
            if value < least:
                raise UserError(f"{option} must be at least {least}, not {value}")

    @property
    def recorded(self) -> dict[str, str]:
        """What result rows say of it; neither threads nor the place change a bit."""
        return {"backend": self.backend, "dtype": self.dtype}

    def kernel(self, spec: KernelSpec) -> Kernel:
        """The kernel that `spec` describes, computed as this execution says.

        Raises:
          UserError: unknown architecture, layers that the backend does not execute, a number of
            threads that is not positive or for a backend that has none.
        """
        pool, threads = self.pool, self.threads
        if pool is None and self.place != "local":
            pool = self._on_ray()
            if threads is None and self.backend in ("auto", "numba"):
                threads = self.worker_cores or 1
        return factory.kernel_of(spec, self.backend, self.dtype, threads, pool)

    def status(self) -> str:
        """What progress says of the place: workers alive, blocks in flight, blocks repeated."""
        if self.place == "local" or not _ray_pool.cache_info().currsize:
            return ""
        return self._on_ray().status

    def _on_ray(self) -> RayPool:
        cores, cards = self.worker_cores or 1, self.worker_cards or 0
        return _ray_pool(self.place, self.workers, cores, cards)


@functools.lru_cache(maxsize=1)
def _ray_pool(place: str, workers: int | None, cores: int, cards: int) -> RayPool:
    """The Ray pool of this process.

    Raises:
      UserError: Ray is not installed, or no cluster is found.
    """
    try:
        return ray_pool.RayPool(place, workers, cores, cards)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError(
            f"--execution {place} needs Ray, which is not installed: pip install 'kip-repro[ray]'"
        ) from error


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
