"""The kernel of a network: one factory over the backends."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal, get_args

from paper_repro.core.architecture import Architecture, Dense, Flatten, ReLU, from_name
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.kernel import Get, Kernel, known_get

Backend = Literal["auto", "jax", "numba", "cuda", "neural_tangents"]

_OPTIONS = {
    "numba": ("threads",),
    "jax": ("tile_pairs",),
    "cuda": (),
    "neural_tangents": ("tile_pairs",),
    "closed form": (),
}


def network_kernel(
    architecture: Architecture | str,
    *,
    backend: Backend = "auto",
    dtype: Any = "float32",
    get: Get = "ntk",
    threads: int | None = None,
    tile_pairs: int | None = None,
) -> Kernel:
    """The exact NTK or NNGP kernel of an infinitely wide network.

    `kernel_fn(x1, x2)` of every backend but neural_tangents may be traced by `jax.jit`, `jax.vmap`
    and `jax.grad`. Convolutional ones are differentiated once, in reverse mode: `jax.jvp`,
    `jax.jacfwd` and `jax.hessian` are refused. Outside of JAX's transformations
    `kernel_fn.vjp` has the gradients.

    Args:
      architecture: layers, or a name that `architecture.from_name` takes.
      backend: `numba` (CPU cores), `jax` (CPU, GPU, TPU), `cuda` (an NVIDIA GPU),
        `neural_tangents` (the slow oracle), or `auto`: numba where JAX's default device is a CPU,
        cuda where it is an NVIDIA GPU and the `cuda` extra is installed, else jax. Fully connected
        networks have a closed form, which numba, jax and cuda share.
      dtype: float32 or float64, of the entries.
      get: `ntk` or `nngp`, the default of the returned kernel.
      threads: of the numba backend; None for all cores that the process may use. Results do not
        depend on it.
      tile_pairs: image pairs in one compiled call of the jax and neural_tangents backends; None
        for what suits the device and the network. Fewer need less memory.

    Raises:
      UserError: unknown backend, dtype or architecture, layers that the backend does not execute,
        or an option that it does not have.
    """
    if isinstance(architecture, str):
        architecture = from_name(architecture)
    if backend not in get_args(Backend):
        raise UserError(
            f"unknown backend {backend!r}: choose one of {', '.join(get_args(Backend))}"
        )
    known_get(get)
    depth = _fully_connected_depth(architecture)
    if depth and backend != "neural_tangents":
        backend = "closed form"
    elif backend == "auto":
        backend = _backend_of_device()
    options = _options_of(backend, threads=threads, tile_pairs=tile_pairs)
    if backend == "closed form":
        from paper_repro.core.kernels.dot_product import fully_connected_kernel

        return fully_connected_kernel(
            depth, dtype, get, w_std=architecture.w_std, b_std=architecture.b_std
        )
    if backend == "neural_tangents":
        from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

        return NeuralTangentsKernel(architecture, dtype, get, **options)
    if backend == "numba":
        from paper_repro.core.kernels.numba_backend.kernel import NumbaKernel

        return NumbaKernel(architecture, dtype, get, **options)
    if backend == "cuda":
        from paper_repro.core.kernels.cuda_backend.kernel import CudaKernel

        return CudaKernel(architecture, dtype, get, **options)
    from paper_repro.core.kernels.jax_backend.kernel import JaxKernel

    return JaxKernel(architecture, dtype, get, **options)


def _options_of(backend: str, **options: int | None) -> dict[str, int]:
    """The options that are given, each a positive number that `backend` has a use for."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in _OPTIONS[backend]:
            raise UserError(f"{name} means nothing to the {backend} backend: leave it out")
        if value < 1:
            raise UserError(f"{name} is a positive number, not {value}")
    return given


def _fully_connected_depth(architecture: Architecture) -> int:
    """Number of hidden layers of Flatten, (Dense, ReLU) repeated, Dense; 0 for other stacks."""
    kinds = tuple(type(layer) for layer in architecture.layers)
    depth = (len(kinds) - 2) // 2
    return depth if kinds == (Flatten, *(Dense, ReLU) * depth, Dense) else 0


def _backend_of_device() -> Backend:
    import jax

    if jax.default_backend() == "cpu":
        return "numba"
    is_nvidia = "nvidia" in jax.devices()[0].device_kind.lower()
    return "cuda" if is_nvidia and _has("cuda") and _has("cuda.bindings") else "jax"


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
