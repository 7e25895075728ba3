"""What JAX computes in and where, for the length of a call: float64, and the CPU."""

from __future__ import annotations

import contextlib

import jax
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.machine.device import platform


def precision(dtype: np.dtype) -> contextlib.AbstractContextManager:
    """A context in which JAX computes in `dtype`: 64-bit types are enabled for float64 alone.

    Raises:
      UserError: JAX was told to use a device that is not on this machine.
    """
    platform()
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def on_the_cpu() -> contextlib.AbstractContextManager:
    """A context in which JAX compiles and runs for the CPU.

    The pullback of the norms to the images is right to rounding there. The same program compiled
    by XLA for an H100 (jax 0.11.2) is wrong by 3 % at 32x32x3 and 12 % at 28x28x1, measured
    against float64, so no gradient goes through it.

    Raises:
      UserError: JAX was told to leave the CPU out.
    """
    if platform() == "cpu":
        return contextlib.nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError as error:
        raise UserError(
            "gradients on a card need JAX's CPU device beside it: set JAX_PLATFORMS=cuda,cpu or "
            "leave it unset"
        ) from error


def float_dtype(dtype: object) -> np.dtype:
    """`dtype` as a NumPy dtype.

    Raises:
      UserError: neither float32 nor float64.
    """
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result not in (np.float32, np.float64):
        raise UserError(f"kernels are computed in float32 or float64, not {dtype}")
    return result
