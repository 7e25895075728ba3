"""The polynomials behind both backends, against the definitions."""

import numpy as np
import pytest
from numba import njit

from paper_repro.core.kernels.arccosine import coincident
from paper_repro.core.kernels.numba_backend.lanes import load, store
from paper_repro.core.kernels.numba_backend.relu import derivatives, expectations


@njit
def _evaluate(c, threshold, lanes, j1, j0, d0, sine, inverse):
    for n in range(0, len(c), lanes):
        first, zeroth = expectations(load(c, n), threshold)
        store(j1, n, first)
        store(j0, n, zeroth)
        first, second, third = derivatives(load(c, n), threshold)
        store(d0, n, first)
        store(sine, n, second)
        store(inverse, n, third)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1.5e-7), ("float64", 4e-16)])
def test_accuracy(dtype, tolerance):
    lanes = 64 // np.dtype(dtype).itemsize
    c = np.concatenate([np.linspace(-1, 1, 4096), 1 - np.logspace(-7, -1, 4096)]).astype(dtype)
    out = [np.zeros_like(c) for _ in range(5)]
    threshold = np.dtype(dtype).type(coincident(np.dtype(dtype)))
    _evaluate(c, threshold, lanes, *out)
    exact = c.astype(np.longdouble)
    apart = 1 - np.abs(exact) > threshold
    exact = np.where(apart, exact, np.sign(exact))
    theta = np.arccos(exact)
    two_pi = 2 * np.arccos(np.longdouble(-1))
    wanted_j1 = (np.sin(theta) + (two_pi / 2 - theta) * exact) / two_pi
    wanted_j0 = (two_pi / 2 - theta) / two_pi
    j1, j0, d0, sine, inverse = out
    # Where c is taken to be 1 the first expectation keeps c itself, a few eps away.
    assert np.abs(j1 - wanted_j1)[apart].max() < tolerance
    assert np.abs(j0 - wanted_j0).max() < tolerance
    assert np.abs(d0 - wanted_j0).max() < 2 * tolerance
    assert np.abs(sine - np.sqrt((1 - exact) * (1 + exact)) / two_pi).max() < tolerance
    root = np.sqrt((1 - exact[apart]) * (1 + exact[apart]))
    assert np.abs(inverse[apart] * two_pi * root - 1).max() < 4 * tolerance
    assert (inverse[~apart] == 0).all()
