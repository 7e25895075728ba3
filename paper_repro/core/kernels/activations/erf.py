"""Erf: the error function, a sigmoid with closed-form expectations (Williams 1997).

With the norms s = sqrt(q + 1/2) and c = k / s1 s2,

    E[erf erf]   = (2 / pi) asin(c)
    E[erf' erf'] = (2 / pi) / (s1 s2 sqrt(1 - c^2))
    E[erf^2]     = (2 / pi) asin(q / (q + 1/2))

as `stax.Erf` of neural-tangents with its defaults. |c| is below 1 for finite variances, so nothing
is singular, not even where two patches coincide.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.kernels.activations.base import Activation
from paper_repro.core.kernels.lanes import (
    absolute,
    fma,
    polynomial,
    reciprocal,
    reciprocal_root,
    square_root,
    where_greater,
    zeros_like,
)
from paper_repro.core.kernels.scale import powers_of_two

_TWO_OVER_PI = 2 / math.pi
_HALF_PI = math.pi / 2


@dataclasses.dataclass(frozen=True)
class Erf(Activation):
    """Pointwise erf(x)."""

    vanishes = True

    @property
    def label(self) -> str:
        """See `Activation.label`."""
        return "Erf"

    def value(self, x: jax.Array) -> jax.Array:
        """See `Activation.value`."""
        return jax.scipy.special.erf(x)

    def second_moment(self, q: jax.Array) -> jax.Array:
        """See `Activation.second_moment`; the angle as an arc tangent, exact for large q too."""
        return _TWO_OVER_PI * jnp.arctan2(2 * q, jnp.sqrt(1 + 4 * q))

    def norm(self, q: jax.Array) -> jax.Array:
        """sqrt(q + 1/2)."""
        return jnp.sqrt(q + 0.5)

    def pair(self, k: jax.Array, s1: jax.Array, s2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Activation.pair`; nothing comes out where a norm is 0."""
        down1, _ = powers_of_two(s1 * s1)
        down2, _ = powers_of_two(s2 * s2)
        s12 = (s1 * down1) * (s2 * down2)
        inverse = jnp.where(s12 > 0, 1 / jnp.where(s12 > 0, s12, 1), 0)
        c = k * down1 * down2 * inverse
        return (
            _TWO_OVER_PI * jnp.arcsin(c),
            _TWO_OVER_PI * (inverse * down1 * down2) / jnp.sqrt((1 - c) * (1 + c)),
        )

    def numba_form(self, dtype: np.dtype) -> ErfForm:
        """See `Activation.numba_form`."""
        return ErfForm(np.finfo(dtype).eps)

    def neural_tangents(self, stax: Any) -> Any:
        """See `Activation.neural_tangents`."""
        return stax.Erf()


# asin(y) = y A(y^2) for y in [0, 1/2]: the power series, economised; constant term first. Relative
# errors 5e-9 and 2e-17.
_A = {
    "float32": (
        0.9999999957384342, 0.16666787011719464, 0.07494534269355964, 0.0455390097131682,
        0.023909363590092571, 0.04255359910635753,
    ),
    "float64": (
        1.0, 0.16666666666664839, 0.075000000004048578, 0.044642856791215726,
        0.030381960271495149, 0.02237173660319574, 0.017359969965541983, 0.013883027829435166,
        0.012181679088842099, 0.0064808553487793238, 0.01964239671205795, -0.016384436448802192,
        0.032011340323281685,
    ),
}  # fmt: skip
_a = polynomial(_A.__getitem__)


class ErfForm(NamedTuple):
    """See `base.NumbaForm`; 1 - c^2 is taken to be `least` at least."""

    least: float

    @staticmethod
    def norm(form, variance):
        """sqrt(q + 1/2)."""
        return square_root(variance + 0.5)

    @staticmethod
    def second_moment(form, variance):
        """(2 / pi) asin(c) for c = q / (q + 1/2): for c > 1/2 by asin(c) = pi / 2 - 2 asin(y)."""
        rest = reciprocal(variance + 0.5)
        c = variance * rest
        # (1 - c) / 2 without cancellation.
        half = 0.25 * rest
        y = where_greater(c, 0.5, square_root(half), c)
        angle = y * _a(y * y)
        return where_greater(c, 0.5, 1.0 - 2.0 * _TWO_OVER_PI * angle, _TWO_OVER_PI * angle)

    @staticmethod
    def variance_pullback(form, s, d_moment, d_s):
        """Of the second moment, 2 / (pi s^2 sqrt(4 s^2 - 1)) each, and of s, 1 / 2 s."""
        squared = s * s
        inverse = reciprocal_root(squared)
        rate = _TWO_OVER_PI * inverse * inverse * reciprocal_root(4.0 * squared - 1.0)
        return fma(rate, d_moment, 0.5 * inverse * d_s)

    @staticmethod
    def expectations(form, c, s12, inverse12):
        """((2 / pi) asin(c), (2 / pi) / (s12 sqrt(1 - c^2)))."""
        nothing = zeros_like(c)
        size = absolute(c)
        y = where_greater(size, 0.5, square_root(0.5 - 0.5 * size), size)
        angle = y * _a(y * y)
        angle = where_greater(size, 0.5, _HALF_PI - 2.0 * angle, angle)
        angle = where_greater(c, nothing, angle, nothing - angle)
        rest = (1.0 - size) * (1.0 + size)
        root = reciprocal_root(where_greater(rest, form.least, rest, form.least))
        return _TWO_OVER_PI * angle, _TWO_OVER_PI * (inverse12 * root)

    @staticmethod
    def pullback(form, c, t, kb, ub, s12, inverse12):
        """With r = 1 / sqrt(1 - c^2) and D = (2 / pi) r / s12, dD/dk = D c r^2 / s12.

        In s12 the first expectation falls by c D, the second by D r^2 / s12.
        """
        rest = (1.0 - c) * (1.0 + c)
        root = reciprocal_root(where_greater(rest, form.least, rest, form.least))
        derivative = _TWO_OVER_PI * (inverse12 * root)
        second = (ub * (t * inverse12)) * (derivative * root * root)
        return derivative, second * c, zeros_like(c) - (kb * c * derivative + second)
