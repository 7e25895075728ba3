"""ReLU: max(x, 0), the activation of the papers.

With c = k / s1 s2 the correlation and theta = acos(c), the expectations are (Cho and Saul 2009,
orders 1 and 0)

    E[relu relu]   = s1 s2 (sin theta + (pi - theta) c) / 2 pi
    E[relu' relu'] = (pi - theta) / 2 pi

The derivative of the second with respect to c is 1 / (2 pi sin theta), singular at c = +-1. On
the diagonal of a self kernel the singular terms cancel, so they are dropped where |c| = 1 up to
rounding, by hand-written derivatives rather than automatic ones.

Fully connected networks use the definitions above, which JAX differentiates as often as one likes.
Tiles of convolutional ones use the polynomials of `arccosine`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.kernels.activations.arccosine import INVERSE_TWO_PI, P, R, T, coincident
from paper_repro.core.kernels.activations.base import Activation
from paper_repro.core.kernels.lanes import (
    absolute,
    fma,
    polynomial,
    reciprocal_root,
    square_root,
    where_greater,
    zeros_like,
)
from paper_repro.core.kernels.scale import powers_of_two

COINCIDENT = 128
"""Correlations of fully connected networks within this many eps of +-1 count as +-1.

A matrix product and a sum of squares of the same few thousand features differ by up to 75 eps
(CIFAR-10 and MNIST, XLA on CPUs). E[relu' relu'] turns that into sqrt(2 * 75 eps) / 2 pi, 7e-4
in float32, on the diagonal of a self kernel. Unequal images that are this close, with a correlation
above 1 - 1.5e-5 in float32 (a distance of half a percent of their norm), are taken for equal too:
E[relu' relu'] is then up to 9e-4 too large and the singular part of the gradient is left out.
Natural images of one data set are further apart; for near-duplicates take float64.
"""


@dataclasses.dataclass(frozen=True)
class ReLU(Activation):
    """Pointwise max(x, 0)."""

    vanishes = True
    homogeneous = True

    @property
    def label(self) -> str:
        """See `Activation.label`."""
        return "ReLU"

    def value(self, x: jax.Array) -> jax.Array:
        """See `Activation.value`."""
        return jax.nn.relu(x)

    def second_moment(self, q: jax.Array) -> jax.Array:
        """See `Activation.second_moment`."""
        return q / 2

    def norm(self, q: jax.Array) -> jax.Array:
        """The standard deviation."""
        return _standard_deviation(q)

    def pair(self, k: jax.Array, s1: jax.Array, s2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Activation.pair`; the gradient of the second result is that of `layer`."""
        first, both = self.layer(k, jnp.ones_like(k), s1, s2)
        return first, both - first

    def layer(
        self, k: jax.Array, t: jax.Array, s1: jax.Array, s2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """See `Activation.layer`."""
        return _layer(k, t, s1 * s2)

    def dense_pair(
        self, k: jax.Array, q1: jax.Array, q2: jax.Array, may_vanish: bool
    ) -> tuple[jax.Array, jax.Array]:
        """See `Activation.dense_pair`."""
        down1, up1 = powers_of_two(q1)
        down2, up2 = powers_of_two(q2)
        k = k * down1 * down2
        s12 = _root(q1 * down1 * down1) * _root(q2 * down2 * down2)
        c = jnp.where(s12 == 0, 0, k / jnp.where(s12 == 0, 1, s12)) if may_vanish else k / s12
        first, zeroth = _arc_cosine(c)
        first = s12 * first
        # At zero variance k' has one-sided derivatives alone; their mean is that of c = 0.
        first = jnp.where(s12 == 0, zeroth * k, first) if may_vanish else first
        return first * up1 * up2, zeroth

    def numba_form(self, dtype: np.dtype) -> ReLUForm:
        """See `Activation.numba_form`."""
        return ReLUForm(dtype.type(coincident(dtype)), dtype.type(_least_variance(dtype)))

    def neural_tangents(self, stax: Any) -> Any:
        """See `Activation.neural_tangents`."""
        return stax.Relu()


# Fully connected networks: the definitions.


def _root(q):
    """Square root, 0 with gradient 0 where q is 0: an image of zeros where there is no bias."""
    return jnp.where(q == 0, 0, jnp.sqrt(jnp.where(q == 0, 1, q)))


@jax.custom_jvp
def _arc_cosine(c):
    """Arc-cosine kernels of orders 1 and 0, halved: functions of the correlation alone."""
    c, sin, angle = _angle(c)
    return (sin + angle * c) / (2 * jnp.pi), angle / (2 * jnp.pi)


@_arc_cosine.defjvp
def _arc_cosine_jvp(primals, tangents):
    (c,), (dc,) = primals, tangents
    c, sin, angle = _angle(c)
    zeroth = angle / (2 * jnp.pi)
    regular = sin > 0
    dzeroth = jnp.where(regular, dc / (2 * jnp.pi * jnp.where(regular, sin, 1)), 0)
    return ((sin + angle * c) / (2 * jnp.pi), zeroth), (zeroth * dc, dzeroth)


def _angle(c):
    """Correlation snapped to +-1 where it is that up to rounding, sin, pi - theta."""
    eps = jnp.finfo(c.dtype).eps
    c = jnp.where(jnp.abs(c) > 1 - COINCIDENT * eps, jnp.sign(c), c)
    return c, jnp.sqrt((1 - c) * (1 + c)), jnp.pi - jnp.arccos(c)


# Tiles of convolutional networks in JAX: polynomials, and a reverse mode of one root.


@jax.custom_vjp
def _layer(k, t, s12):
    """(k', k' + t') for covariance k, tangent kernel t and s12 = s1 s2; zero variances give zero.

    The derivatives are those of `numba_backend.reverse`: where a variance is zero those of c = 0,
    the mean of the one-sided ones.
    """
    j1, j0 = _expectations(k * _inverse(s12))
    k_out = s12 * j1
    return k_out, k_out + t * j0


def _layer_fwd(k, t, s12):
    return _layer(k, t, s12), (k, t, s12)


def _layer_bwd(saved, adjoints):
    k, t, s12 = saved
    kb, ub = adjoints
    c = k * _inverse(s12)
    j0, sine, inverse_sine = _derivatives(c)
    kb = kb + ub
    q = ub * t * inverse_sine * _inverse(s12)
    return kb * j0 + q, ub * j0, kb * sine - c * q


_layer.defvjp(_layer_fwd, _layer_bwd)


@jax.custom_vjp
def _standard_deviation(k):
    """Square root of a variance, with zero gradient at zero."""
    return jnp.sqrt(jnp.maximum(k, 0))


def _standard_deviation_fwd(k):
    s = _standard_deviation(k)
    return s, s


_standard_deviation.defvjp(_standard_deviation_fwd, lambda s, ds: (0.5 * ds * _inverse(s),))


def _inverse(s):
    return jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1), 0)


def _polynomial(table, z):
    *rest, value = table[z.dtype.name]
    for coefficient in reversed(rest):
        value = value * z + coefficient
    return value


def _expectations(c):
    z = 1 - jnp.abs(c)
    z = jnp.where(z > coincident(z.dtype), z, 0)
    s = jnp.sqrt(z)
    angle = s * _polynomial(P, z)
    j0 = jnp.where(c > 0, 0.5 - angle, angle)
    return 0.5 * jnp.maximum(c, 0) + s * z * _polynomial(R, z), j0


def _derivatives(c):
    """(J0, sin(theta) / 2 pi, 1 / (2 pi sin(theta))); the last is zero where |c| is 1."""
    z = 1 - jnp.abs(c)
    threshold = coincident(z.dtype)
    apart = z > threshold
    safe = jnp.where(apart, z, threshold)
    root = jnp.sqrt(safe * (2 - safe))
    sine = jnp.where(apart, root, 0)
    angle = sine * _polynomial(T, safe)
    inverse_sine = jnp.where(apart, INVERSE_TWO_PI / root, 0)
    j0 = jnp.where(c > 0, 0.5 - angle, angle)
    return j0, sine * INVERSE_TWO_PI, inverse_sine


# Tiles of convolutional networks in the numba backend: the same on `Lanes`.

_p = polynomial(P.__getitem__)
_r = polynomial(R.__getitem__)
_t = polynomial(T.__getitem__)


def _least_variance(dtype: np.dtype) -> float:
    """Variances up to this count as zero.

    Below, rounding is absolute, and 1 / (s1 s2) times what a near coincidence adds overflows.
    """
    return 2.0 ** (np.finfo(dtype).minexp * 7 // 8)


class ReLUForm(NamedTuple):
    """See `base.NumbaForm`.

    1 - |c| up to `threshold` counts as zero, and so does a variance up to `least`.
    """

    threshold: float
    least: float

    @staticmethod
    def norm(form, variance):
        """The standard deviation."""
        nothing = zeros_like(variance)
        return square_root(where_greater(variance, form.least, variance, nothing))

    @staticmethod
    def second_moment(form, variance):
        """Half of the variance."""
        return 0.5 * variance

    @staticmethod
    def variance_pullback(form, s, d_moment, d_s):
        """Of half the variance and of its root s."""
        nothing = zeros_like(s)
        safe = where_greater(s, nothing, s * s, nothing + 1.0)
        rate = where_greater(s, nothing, 0.5 * reciprocal_root(safe), nothing)
        return fma(0.5, d_moment, rate * d_s)

    @staticmethod
    def expectations(form, c, s12, inverse12):
        """(s12 J1, J0)."""
        nothing = zeros_like(c)
        z = 1.0 - absolute(c)
        z = where_greater(z, form.threshold, z, nothing)
        s = square_root(z)
        angle = s * _p(z)
        j0 = where_greater(c, nothing, 0.5 - angle, angle)
        positive = where_greater(c, nothing, c, nothing)
        j1 = fma(s * z, _r(z), 0.5 * positive)
        return s12 * j1, j0

    @staticmethod
    def pullback(form, c, t, kb, ub, s12, inverse12):
        """(J0, ub t / (2 pi sin s12), kb sin / 2 pi - c q); q is zero where |c| is 1."""
        nothing = zeros_like(c)
        z = 1.0 - absolute(c)
        safe = where_greater(z, form.threshold, z, form.threshold)
        y = safe * (2.0 - safe)
        inverse = reciprocal_root(y)
        sine = where_greater(z, form.threshold, y * inverse, nothing)
        angle = sine * _t(safe)
        j0 = where_greater(c, nothing, 0.5 - angle, angle)
        inverse_sine = where_greater(z, form.threshold, inverse * INVERSE_TWO_PI, nothing)
        q = (ub * t) * (inverse_sine * inverse12)
        return j0, q, kb * (sine * INVERSE_TWO_PI) - c * q
