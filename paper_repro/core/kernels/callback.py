"""A kernel that NumPy arrays go into, called from what JAX traces: `jit`, `grad`, `vmap`.

The compiled program, which must run on a CPU, calls back for the matrix and for its gradients. JAX
differentiates once in reverse mode; beyond, forward mode and second derivatives are refused.

A callback must not wait for JAX, whose only thread it may occupy. `jax.pure_callback` makes JAX
arrays of the operands first, and reading those can wait for ever (seen with jax 0.10.2 on one
core); `buffer_callback` hands over the memory itself.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

from paper_repro.core.kernels.blocks import kernel_matrix, kernel_vjp
from paper_repro.core.kernels.kernel import Get, Kernel
from paper_repro.core.kernels.prepared import Array, Prepared, images_of
from paper_repro.core.kernels.sharding import varying_alike, with_automatic_axes
from paper_repro.core.kernels.tracing import require_traceable, second_derivative

Operands = tuple[jax.Array, ...]
"""The images x1 and x2 of a matrix, or x1 alone of a self kernel."""


def traced_matrix(
    kernel: Kernel, x1: Array | Prepared, x2: Array | Prepared | None, get: Get
) -> jax.Array:
    """The matrix k(x1, x2), or k(x1, x1), as a step of a traced computation.

    Args:
      kernel: computes blocks of NumPy arrays without JAX.
      x1: images (n1, ...).
      x2: images (n2, ...); None for x1, both sides of which then move.
      get: `ntk` or `nngp`.

    Returns:
      (n1, n2) of the kernel's dtype, once differentiable in reverse mode with respect to both.

    Raises:
      UserError: float64 where JAX computes in float32.
    """
    require_traceable(kernel.dtype)
    given = (x1,) if x2 is None else (x1, x2)
    operands = tuple(jnp.asarray(images_of(x), kernel.dtype) for x in given)
    if any(len(x) == 0 for x in operands):
        return jnp.zeros((len(operands[0]), len(operands[-1])), kernel.dtype)
    return with_automatic_axes(partial(_any_matrix, kernel, get), *operands)


def _any_matrix(kernel: Kernel, get: Get, *operands: jax.Array) -> jax.Array:
    return _matrix(kernel, get, varying_alike(operands))


# Callbacks are compared by value, so that what JAX has compiled for one serves its equals.


@dataclasses.dataclass(frozen=True)
class _Values:
    kernel: Kernel
    get: Get

    def __call__(self, context: Any, out: Any, *operands: Any) -> None:
        x1, x2 = _arguments(operands)
        np.asarray(out)[...] = kernel_matrix(self.kernel, x1, x2, self.get)


@dataclasses.dataclass(frozen=True)
class _Gradient:
    kernel: Kernel
    get: Get
    argument: int

    def __call__(self, context: Any, out: Any, cotangent: Any, *operands: Any) -> None:
        x1, x2 = _arguments(operands)
        cotangent = np.asarray(cotangent)
        np.asarray(out)[...] = kernel_vjp(self.kernel, x1, x2, cotangent, self.get, self.argument)


def _arguments(operands: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    x1, *second = (np.asarray(x) for x in operands)
    return x1, second[0] if second else None


def _on_host(
    function: _Values | _Gradient, shape: tuple[int, ...], *operands: jax.Array
) -> jax.Array:
    result = jax.ShapeDtypeStruct(shape, function.kernel.dtype)
    out = buffer_callback(function, result, vmap_method="sequential")(*operands)
    return varying_alike(out, operands)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _matrix(kernel: Kernel, get: Get, operands: Operands) -> jax.Array:
    shape = len(operands[0]), len(operands[-1])
    return _on_host(_Values(kernel, get), shape, *operands)


def _matrix_fwd(kernel, get, operands):
    values = tuple(x.value for x in operands)
    # Which gradients are wanted is known here alone; None and () are structure, not values.
    wanted = tuple(() if x.perturbed else None for x in operands)
    return _matrix(kernel, get, values), (values, wanted)


def _matrix_bwd(kernel, get, saved, cotangent):
    operands, wanted = saved
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return (tuple(varying_alike(jnp.zeros_like(x), x) for x in operands),)
    gradients = (
        varying_alike(jnp.zeros_like(x), x)
        if w is None
        else _gradient(kernel, get, argument, cotangent, operands)
        for argument, (x, w) in enumerate(zip(operands, wanted, strict=True), start=1)
    )
    return (tuple(gradients),)


_matrix.defvjp(_matrix_fwd, _matrix_bwd, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _gradient(kernel, get, argument: int, cotangent: jax.Array, operands: Operands) -> jax.Array:
    shape = operands[argument - 1].shape
    return _on_host(_Gradient(kernel, get, argument), shape, cotangent, *operands)


@_gradient.defjvp
def _no_second_derivative(kernel, get, argument, primals, tangents):
    raise second_derivative(kernel.name)
