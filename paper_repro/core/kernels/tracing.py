"""What JAX traces, under `jit`, `grad` and `vmap`: to tell it, and to refuse what cannot be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.prepared import Array, Prepared, images_of

_NEEDS_VALUES = (
    "this call needs arrays with values: under jit, grad or vmap let JAX differentiate "
    "kernel_fn(x1, x2) of the numba or jax backend, or make this call outside of them"
)


# An operation without operands: a tracer where JAX traces what is computed from constants, else a
# number of Python's. A JAX array in its place would run a program of XLA, whose threads a forked
# process does not have, and open a device.
_probe = Primitive("kip_probe")
_probe.def_impl(lambda: 0.0)
_probe.def_abstract_eval(lambda: jax.core.ShapedArray((), np.dtype("float32")))
mlir.register_lowering(
    _probe, mlir.lower_fun(lambda: jnp.zeros((), "float32"), multiple_results=False)
)


def is_tracer(*arguments: Array | Prepared | None) -> bool:
    """Whether JAX traces one of `arguments`, whose values are then not known yet."""
    return any(isinstance(images_of(x), jax.core.Tracer) for x in arguments)


def is_traced(*arguments: Array | Prepared | None) -> bool:
    """Whether JAX traces what it computes from `arguments` now: a tracer, or inside of `jit`."""
    return is_tracer(*arguments, _probe.bind())


def require_traceable(dtype: np.dtype) -> None:
    """Check that a traced computation can have entries of `dtype`.

    Raises:
      UserError: float64 where JAX computes in float32.
    """
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise UserError("float64 under jit or grad needs jax.enable_x64(True) around the call")


def require_concrete(*arguments: Array | Prepared | None) -> None:
    """Check that arguments are arrays with values.

    Raises:
      UserError: JAX traces one.
    """
    if is_tracer(*arguments):
        raise UserError(_NEEDS_VALUES)


def require_outside_jit(*arguments: Array | Prepared | None) -> None:
    """Check that what JAX computes from arguments now has values.

    Raises:
      UserError: JAX traces an argument, or everything (inside of `jit`).
    """
    if is_traced(*arguments):
        raise UserError(_NEEDS_VALUES)


def second_derivative(name: str) -> UserError:
    """The error where JAX is asked to differentiate the gradient of the kernel called `name`."""
    return UserError(
        f"the {name} kernel is differentiated once, in reverse mode: take second derivatives as "
        "finite differences of its gradient"
    )
