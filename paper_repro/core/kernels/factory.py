"""The kernel of a network or of a result row: one factory over the backends."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, get_args

import jax
import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import dot_product
from paper_repro.core.kernels.activations import Activation, ReLU
from paper_repro.core.kernels.architecture import Architecture, Dense, Flatten, from_name
from paper_repro.core.kernels.kernel import Get, Kernel, known_get
from paper_repro.core.kernels.pool import Pool
from paper_repro.core.kernels.spec import Backend, KernelSpec
from paper_repro.core.machine.device import platform

if TYPE_CHECKING:
    from paper_repro.core.kernels import neural_tangents
    from paper_repro.core.kernels.cuda_backend import kernel as cuda_backend
    from paper_repro.core.kernels.jax_backend import kernel as jax_backend
    from paper_repro.core.kernels.numba_backend import kernel as numba_backend
else:
    cuda_backend = lazy.module("paper_repro.core.kernels.cuda_backend.kernel")
    jax_backend = lazy.module("paper_repro.core.kernels.jax_backend.kernel")
    neural_tangents = lazy.module("paper_repro.core.kernels.neural_tangents")
    numba_backend = lazy.module("paper_repro.core.kernels.numba_backend.kernel")

_CLOSED_FORM = "closed form"

_OPTIONS = {
    "numba": ("threads",),
    "jax": ("tile_pairs",),
    "cuda": (),
    "neural_tangents": ("tile_pairs",),
    _CLOSED_FORM: (),
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
      backend: `numba` (CPU cores), `jax` (CPU, GPU, TPU), `cuda` (an NVIDIA GPU; networks that it
        does not execute go to jax, with one notice), `neural_tangents` (the slow oracle), or
        `auto`: numba where JAX's default device is a CPU, cuda where it is an NVIDIA GPU and the
        `cuda` extra is installed, else jax. Fully connected networks have a closed form, which
        numba, jax and cuda share.
      dtype: float32 or float64, of the entries.
      get: `ntk` or `nngp`, the default of the returned kernel.
      threads: number of threads of the numba backend; None for all cores that the process may
        use. Results do not depend on it.
      tile_pairs: image pairs in one compiled call of the jax and neural_tangents backends; None
        for what suits the device and the network. Fewer need less memory.

    Raises:
      UserError: unknown backend, dtype or architecture, layers that the backend does not execute,
        or an option that it does not have.

    Example:
      >>> kernel_fn = network_kernel("convnet3", dtype="float64")
      >>> x = np.random.default_rng(0).standard_normal((2, 8, 8, 3))
      >>> kernel_fn(x).shape, kernel_fn.vjp(x, None, np.ones((2, 2))).shape
      ((2, 2), (2, 8, 8, 3))
    """
    if isinstance(architecture, str):
        architecture = from_name(architecture)
    if not isinstance(architecture, Architecture):
        raise UserError(
            f"an architecture is a name, as 'convnet', or an Architecture, not {architecture!r}"
        )
    known_get(get)
    backend = _resolved(architecture, backend)
    options = _options_of(backend, threads=threads, tile_pairs=tile_pairs)
    if backend == _CLOSED_FORM:
        return dot_product.fully_connected_kernel(
            _fully_connected_depth(architecture),
            dtype,
            get,
            w_std=architecture.w_std,
            b_std=architecture.b_std,
            activation=architecture.layers[2],
        )
    if backend == "neural_tangents":
        return neural_tangents.NeuralTangentsKernel(architecture, dtype, get, **options)
    if backend == "numba":
        return numba_backend.NumbaKernel(architecture, dtype, get, **options)
    if backend == "cuda":
        return cuda_backend.CudaKernel(architecture, dtype, get, **options)
    return jax_backend.JaxKernel(architecture, dtype, get, **options)


def kernel_of(
    spec: KernelSpec,
    backend: Backend = "auto",
    dtype: Any = "float32",
    threads: int | None = None,
    pool: Pool | None = None,
) -> Kernel:
    """The kernel that `spec` describes; arguments and errors as in `execution.Execution`.

    `threads` are those of the numba backend; a kernel that `auto` gives to another one, or that
    has a closed form, takes no notice of them.
    """
    if threads is not None and threads < 1:
        raise UserError(f"threads must be positive, not {threads}")
    if spec.is_distance:
        _known_backend(backend)
        make = {"rbf": dot_product.rbf, "laplace": dot_product.laplace}[spec.architecture.lower()]
        kernel = make(1.0 if spec.scale is None else spec.scale, spec.learn_scale, dtype)
    else:
        architecture = from_name(spec.architecture)
        resolved = _resolved(architecture, backend)
        unused = resolved == _CLOSED_FORM or (backend == "auto" and resolved in ("jax", "cuda"))
        kernel = network_kernel(
            architecture,
            backend=backend,
            dtype=dtype,
            get=spec.kernel.lower(),
            threads=None if unused else threads,
        )
    if pool is not None:
        kernel.pool = pool
    return kernel


def _resolved(architecture: Architecture, backend: Backend) -> str:
    """The backend that computes the kernel of `architecture` where `backend` is asked for."""
    _known_backend(backend)
    if backend != "neural_tangents" and _fully_connected_depth(architecture):
        return _CLOSED_FORM
    if backend == "auto":
        return _of_device(architecture)
    if backend == "numba" and (missing := _without_numba_form(architecture)):
        raise UserError(
            f"the numba backend has no {missing}, which {architecture.name} needs: use "
            "backend='jax' or 'auto'"
        )
    return backend


def _of_device(architecture: Architecture) -> str:
    """The backend that suits JAX's default device."""
    if platform() == "cpu":
        return "jax" if _without_numba_form(architecture) else "numba"
    is_relu = all(
        isinstance(layer, ReLU) for layer in architecture.layers if isinstance(layer, Activation)
    )
    is_nvidia = "nvidia" in jax.devices()[0].device_kind.lower()
    return "cuda" if is_relu and is_nvidia and _has("cuda", "cuda.bindings") else "jax"


def _has(*modules: str) -> bool:
    """Whether modules are installed; a package comes before what is in it."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _without_numba_form(architecture: Architecture) -> str:
    """What keeps the numba backend from a network, '' if nothing does."""
    found = {layer for layer in architecture.layers if isinstance(layer, Activation)}
    missing = [phi.label for phi in found if phi.numba_form(np.dtype("float32")) is None]
    if missing:
        return f"{min(missing)} activation"
    return "mixture of activations" if len(found) > 1 else ""


def _known_backend(backend: str) -> None:
    if backend not in get_args(Backend):
        raise UserError(
            f"unknown backend {backend!r}: choose one of {', '.join(get_args(Backend))}"
        )


def _options_of(backend: str, **options: int | None) -> dict[str, int]:
    """The options that are given, each a positive number that `backend` has a use for."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in _OPTIONS[backend]:
            raise UserError(f"the {backend} backend has no option {name}: leave it out")
        if value < 1:
            raise UserError(f"{name} must be positive, not {value}")
    return given


def _fully_connected_depth(architecture: Architecture) -> int:
    """Number of hidden layers of Flatten, (Dense, activation) repeated, Dense; 0 for others."""
    layers = architecture.layers
    depth = (len(layers) - 2) // 2
    if depth < 1 or not isinstance(layers[2], Activation):
        return 0
    return depth if layers == (Flatten(), *(Dense(), layers[2]) * depth, Dense()) else 0
