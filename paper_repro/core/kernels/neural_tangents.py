"""The oracle backend: neural-tangents' analytic kernels on current JAX.

neural-tangents 0.6.5 imports names that JAX has since removed, and its package `__init__` pulls in
TensorFlow. Its analytic half, `neural_tangents.stax`, needs neither: it is loaded here below a
private package name whose `__init__` is empty, while the removed names are lent to it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Hashable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import Activation
from paper_repro.core.kernels.architecture import (
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
)
from paper_repro.core.kernels.kernel import Get, Kernel
from paper_repro.core.kernels.precision import float_dtype, precision
from paper_repro.core.kernels.prepared import Array, Prepared, images_of, require_images
from paper_repro.core.kernels.tracing import require_outside_jit
from paper_repro.core.machine.device import platform

_PACKAGE = "_neural_tangents_stax_only"


@functools.cache
def load_stax() -> types.ModuleType:
    """neural-tangents' `stax` module, without TensorFlow and without the empirical kernels.

    Raises:
      UserError: neural-tangents or frozendict is not installed.
    """
    found = importlib.util.find_spec("neural_tangents")
    if found is None or importlib.util.find_spec("frozendict") is None:
        raise UserError(
            "the neural_tangents backend is not installed: "
            "pip install --no-deps neural-tangents==0.6.5 frozendict"
        )
    package = types.ModuleType(_PACKAGE)
    package.__path__ = list(found.submodule_search_locations)
    sys.modules[_PACKAGE] = package
    with _removed_jax_names():
        return importlib.import_module(f"{_PACKAGE}.stax")


@contextlib.contextmanager
def _removed_jax_names() -> Iterator[None]:
    """Lend `jax.random.KeyArray` and `jax.util` while neural-tangents is being imported."""
    add_key = not hasattr(jax.random, "KeyArray")
    add_util = importlib.util.find_spec("jax.util") is None
    if add_key:
        jax.random.KeyArray = jax.Array
    if add_util:
        sys.modules["jax.util"] = importlib.import_module("jax._src.util")
    try:
        yield
    finally:
        if add_key:
            del jax.random.KeyArray
        if add_util:
            del sys.modules["jax.util"]


def stax_kernel_fn(architecture: Architecture) -> Any:
    """The `kernel_fn` that neural-tangents builds for `architecture`, in NTK parameterisation."""
    stax = load_stax()
    std = {"W_std": architecture.w_std, "b_std": architecture.b_std}
    makers = {
        Conv: lambda: stax.Conv(1, (3, 3), padding="SAME", **std),
        AvgPool: lambda: stax.AvgPool((2, 2), strides=(2, 2), padding="VALID"),
        Flatten: lambda: stax.Flatten(),
        GlobalAvgPool: lambda: stax.GlobalAvgPool(),
        Dense: lambda: stax.Dense(1, **std),
    }

    def made(layer: Any) -> Any:
        if isinstance(layer, Activation):
            return layer.neural_tangents(stax)
        return makers[type(layer)]()

    _, _, kernel_fn = stax.serial(*(made(layer) for layer in architecture.layers))
    return kernel_fn


class NeuralTangentsKernel(Kernel):
    """The kernel of an architecture as neural-tangents computes it.

    Args:
      architecture: any stack of layers.
      dtype: float32 or float64 (without the global x64 flag).
      get: `ntk` or `nngp`, the default of `block`.
      tile_pairs: image pairs in one compiled call; None chooses about 4 million covariance
        entries, 4 pairs at 32x32.
    """

    def __init__(
        self,
        architecture: Architecture,
        dtype: Any = "float32",
        get: Get = "ntk",
        tile_pairs: int | None = None,
    ):
        self.name = architecture.name
        self.architecture = architecture
        self.dtype = float_dtype(dtype)
        self.get = get
        self.tile_pairs = tile_pairs
        kernel_fn = stax_kernel_fn(architecture)

        def value(x1: jax.Array, x2: jax.Array, get: Get) -> jax.Array:
            return kernel_fn(x1, x2, get)

        def vjp(x1: jax.Array, x2: jax.Array, cotangent: jax.Array, get: Get) -> jax.Array:
            return jax.vjp(lambda x: kernel_fn(x, x2, get), x1)[1](cotangent)[0]

        # Some float64 gradients of 8x8 pooled networks crash in code that XLA's optimiser makes
        # for AVX-512 CPUs (seen with jaxlib 0.10.2); at level 1 they do not.
        careful = self.dtype == np.float64 and platform() == "cpu"
        options = {"xla_backend_optimization_level": 1} if careful else None
        self._value = jax.jit(value, static_argnums=2, compiler_options=options)
        self._vjp = jax.jit(vjp, static_argnums=3, compiler_options=options)

    @property
    def _identity(self) -> Hashable:
        return super()._identity, self.architecture, self.tile_pairs

    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """Kernel entries, (n1, n2); see `Kernel.block`."""
        x1, x2 = self._cast(x1, x2)
        out = np.empty((len(x1), len(x2)), self.dtype)
        with precision(self.dtype):
            for rows, columns in self._tiles(x1, x2):
                out[rows, columns] = self._value(
                    jnp.asarray(x1[rows]), jnp.asarray(x2[columns]), get or self.get
                )
        return out

    def block_vjp(
        self, x1: Array, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """Gradient with respect to `x1`, of its shape; see `Kernel.block_vjp`."""
        x1, x2 = self._cast(x1, x2)
        require_outside_jit(cotangent)
        cotangent = np.asarray(cotangent, self.dtype)
        out = np.zeros_like(x1)
        with precision(self.dtype):
            for rows, columns in self._tiles(x1, x2):
                gradient = self._vjp(
                    jnp.asarray(x1[rows]),
                    jnp.asarray(x2[columns]),
                    jnp.asarray(cotangent[rows, columns]),
                    get or self.get,
                )
                out[rows] += np.asarray(gradient)
        return out

    def _cast(self, *images: Array | Prepared) -> tuple[np.ndarray, ...]:
        require_images(*images)
        require_outside_jit(*images)
        return tuple(np.asarray(images_of(x), self.dtype) for x in images)

    def _tiles(self, x1: np.ndarray, x2: np.ndarray) -> Iterator[tuple[slice, slice]]:
        pixels = int(np.prod(x1.shape[1:3]))
        pairs = self.tile_pairs or max(1, 2**22 // pixels**2)
        n_columns = max(1, min(len(x2), pairs))
        n_rows = max(1, pairs // n_columns)
        for i in range(0, len(x1), n_rows):
            for j in range(0, len(x2), n_columns):
                yield slice(i, i + n_rows), slice(j, j + n_columns)
