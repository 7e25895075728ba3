"""The ReLU expectations and their derivatives on `Lanes`, from one square root and polynomials.

With c the correlation, z = 1 - |c|, s = sqrt(z) and A = acos(|c|), the arc-cosine kernels of
orders 1 and 0 (Cho and Saul 2009; halved here as a ReLU's expectations are) become

    J1 = (sin t + (pi - t) c) / 2 pi = max(c, 0) / 2 + s z R(z),
    J0 = (pi - t) / 2 pi             = 1/2 - s P(z) for c >= 0, s P(z) for c < 0,

where P = A / (2 pi s) and R = (sqrt(2 - z) - (1 - z) A / s) / (2 pi z) are smooth on [0, 1]. The
reverse mode needs 1 / sin t as well and takes one reciprocal root of y = z (2 - z) = sin^2 t:
sin t = y / sqrt(y), A = 2 pi sin t T(z). The coefficients below are minimax fits (Remez) to
P, R and T: in the angle 1e-7 (P), 4e-8 (R) and 4e-7 (T) for float32, below 1e-16 for float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from paper_repro.core.kernels.numba_backend.lanes import (
    absolute,
    fma,
    polynomial,
    reciprocal_root,
    square_root,
    where_greater,
    zeros_like,
)

INVERSE_TWO_PI = 1 / (2 * np.pi)


def coincident(dtype: np.dtype) -> float:
    """Largest 1 - |c| that counts as zero: a few eps, what rounding leaves of coincidence."""
    return 4 * float(np.finfo(dtype).eps)


# fmt: off
_P = {
    "float32": (
        0.225079261, 0.0187499345, 0.004288457274, 0.0009547185108, 0.001088781717,
        -0.0005740703336, 0.0004129030031,
    ),
    "float64": (
        0.225079079039276576, 0.0187565899199232197, 0.00422023273326953131,
        0.00125602160051841704, 0.0004273971858388367, 0.0001573475306794311,
        0.0000611326297920357901, 0.000023895845488406414, 0.0000132030302446519324,
        -6.27361421395760072e-6, 0.0000297448835769730566, -0.0000556646789628717382,
        0.0000879343661614677336, -0.000103190070187324793, 0.0000913612938257553899,
        -0.0000585572250730410907, 0.000025905743988773381, -7.08146059892622759e-6,
        9.21246452043267015e-7,
    ),
}
_R = {
    "float32": (
        0.1500524441, 0.007508822885, 0.00116616265, 0.000388440551, -6.518639529e-5,
        0.000104253934,
    ),
    "float64": (
        0.150052719359517665, 0.00750263596798191532, 0.00120578078010363538,
        0.000279115936309322162, 0.0000777081482304821303, 0.0000242120418007113178,
        8.11547172016489998e-6, 3.00278259198088811e-6, 6.27456806134788431e-7,
        1.68967138709376608e-6, -2.64732612671458621e-6, 4.72971737445125932e-6,
        -5.82308917852067868e-6, 5.46534744837538298e-6, -3.67302891276768569e-6,
        1.7036351657041357e-6, -4.86283984170382857e-7, 6.6503659872839249e-8,
    ),
}
_T = {
    "float32": (
        0.1591542081, 0.05308655642, 0.02075388866, 0.011838695, -0.00431156039,
        0.01573487592, -0.01140515991, 0.00514844368,
    ),
    "float64": (
        0.159154943091895318, 0.0530516476973053441, 0.0212206590781936712,
        0.00909456821172175046, 0.0040420293392058827, 0.00183730334653300318,
        0.00084777576835024151, 0.000397479469578641548, 0.000174873573001452293,
        0.000144229194735487826, -0.000172847434564946144, 0.000667948674296317978,
        -0.00153723947098276904, 0.00293796954215676201, -0.00440986985375506758,
        0.00523362950115980815, -0.00483427655560110058, 0.00341101998822134673,
        -0.00177672104623713152, 0.000645668449948116666, -0.000146585488597945822,
        0.0000157949234358159512,
    ),
}
# fmt: on
_p = polynomial(_P.__getitem__)
_r = polynomial(_R.__getitem__)
_t = polynomial(_T.__getitem__)


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
