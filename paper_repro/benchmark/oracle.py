"""A few pairs of images against the jax backend in float64 on the CPU: is this device right?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.kernels import Execution, KernelSpec

if TYPE_CHECKING:
    from paper_repro.core.kernels import precision
else:
    precision = lazy.module("paper_repro.core.kernels.precision")

LIMITS = {"float32": (1e-5, 1e-4), "float64": (1e-9, 1e-8)}
"""Relative errors of values and gradients that pass: ten times what tests demand on a CPU."""

_ROWS, _COLUMNS = 4, 5


def check(
    architecture: str, shape: tuple[int, int, int], dtype: str, execution: Execution
) -> dict[str, Any]:
    """Values and gradients of 20 pairs, NTK and NNGP, one image being in both arguments.

    Args:
      architecture: a network's name.
      shape: of an image, (H, W, C).
      dtype: float32 or float64, of the kernel under test.
      execution: how that kernel is computed; its dtype is not used.

    Returns:
      `value_error` and `gradient_error`, the larger of both kernels; `kernel`, the class that
      computed them; and `passed`.

    Example:
      >>> check("conv-1", (4, 3, 1), "float64", Execution(backend="jax"))["passed"]
      True
    """
    rng = np.random.default_rng(0)
    x1, x2 = (rng.normal(size=(n, *shape)) for n in (_ROWS, _COLUMNS))
    x2[1] = x1[2]
    seeds = rng.normal(size=(_ROWS, _COLUMNS))
    errors = []
    for name in ("NTK", "NNGP"):
        spec = KernelSpec(architecture, name)
        kernel = Execution(execution.backend, dtype).kernel(spec)
        with precision.on_the_cpu():
            exact = Execution("jax", "float64").kernel(spec)
            value, gradient = exact.block(x1, x2), exact.block_vjp(x1, x2, seeds)
        found = np.asarray(kernel.block(x1, x2)), np.asarray(kernel.block_vjp(x1, x2, seeds))
        errors.append((_relative(found[0], value), _distance(found[1], gradient)))
    value_error, gradient_error = (float(error) for error in np.max(errors, 0))
    limits = LIMITS[dtype]
    return {
        "architecture": architecture,
        "shape": list(shape),
        "dtype": dtype,
        "pairs": _ROWS * _COLUMNS,
        "kernel": type(kernel).__name__,
        "value_error": value_error,
        "gradient_error": gradient_error,
        "passed": value_error <= limits[0] and gradient_error <= limits[1],
    }


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error relative to an entry, or to a tenth of the largest where entries cancel."""
    scale = np.maximum(np.abs(wanted), 0.1 * np.max(np.abs(wanted)))
    return float(np.max(np.abs(found - wanted) / scale))


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
