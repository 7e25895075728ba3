"""float64 in JAX for the length of a call, without the process-wide x64 flag."""

from __future__ import annotations

import contextlib

import jax
import numpy as np

from paper_repro.core.errors import UserError


def precision(dtype: np.dtype) -> contextlib.AbstractContextManager:
    """A context in which JAX computes in `dtype`: 64-bit types are enabled for float64 alone."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


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
