"""The ReLU expectations and their derivatives on `Lanes`; see `kernels.arccosine`."""

from __future__ import annotations

from numba import njit

from paper_repro.core.kernels.arccosine import INVERSE_TWO_PI, P, R, T
from paper_repro.core.kernels.numba_backend.lanes import (
    absolute,
    fma,
    polynomial,
    reciprocal_root,
    square_root,
    where_greater,
    zeros_like,
)

_p = polynomial(P.__getitem__)
_r = polynomial(R.__getitem__)
_t = polynomial(T.__getitem__)


@njit(nogil=True)
def expectations(c, threshold):
    """(J1, J0) of the correlation `c`; 1 - |c| up to `threshold` counts as zero."""
    nothing = zeros_like(c)
    z = 1.0 - absolute(c)
    z = where_greater(z, threshold, z, nothing)
    s = square_root(z)
    angle = s * _p(z)
    j0 = where_greater(c, nothing, 0.5 - angle, angle)
    positive = where_greater(c, nothing, c, nothing)
    j1 = fma(s * z, _r(z), 0.5 * positive)
    return j1, j0


@njit(nogil=True)
def first_expectation(c, threshold):
    """J1 alone."""
    nothing = zeros_like(c)
    z = 1.0 - absolute(c)
    z = where_greater(z, threshold, z, nothing)
    positive = where_greater(c, nothing, c, nothing)
    return fma(square_root(z) * z, _r(z), 0.5 * positive)


@njit(nogil=True)
def derivatives(c, threshold):
    """(J0, sin t / 2 pi, 1 / (2 pi sin t)); the last is zero where |c| is 1."""
    nothing = zeros_like(c)
    z = 1.0 - absolute(c)
    safe = where_greater(z, threshold, z, threshold)
    y = safe * (2.0 - safe)
    inverse = reciprocal_root(y)
    sine = where_greater(z, threshold, y * inverse, nothing)
    angle = sine * _t(safe)
    j0 = where_greater(c, nothing, 0.5 - angle, angle)
    inverse_sine = where_greater(z, threshold, inverse * INVERSE_TWO_PI, nothing)
    return j0, sine * INVERSE_TWO_PI, inverse_sine
