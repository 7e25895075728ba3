"""The Gaussian expectations of a ReLU layer and of its derivative, safe at coincident inputs.

For Gaussian pre-activations with standard deviations s1, s2 and covariance k, write
s12 = s1 s2, c = k / s12 and theta = acos(c). Then (Cho and Saul 2009, orders 1 and 0)

    E[relu relu]   = s12 (sin theta + (pi - theta) c) / 2 pi
    E[relu' relu'] = (pi - theta) / 2 pi

The derivative of the second with respect to c is 1 / (2 pi sin theta), singular at c = +-1. On
the diagonal of a self kernel the singular terms cancel, so they are dropped where |c| = 1 up to
rounding, in the derivative rule below rather than by automatic differentiation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from paper_repro.core.kernels.prepared import Array

COINCIDENT = 128
"""Correlations within this many eps of +-1 count as +-1.

A matrix product and a sum of squares of the same few thousand features differ by up to 75 eps
(CIFAR-10 and MNIST, XLA on CPUs). E[relu' relu'] turns that into sqrt(2 * 75 eps) / 2 pi, 7e-4
in float32, on the diagonal of a self kernel. Unequal images that are this close, with a correlation
above 1 - 1.5e-5 in float32 (a distance of half a percent of their norm), are taken for equal too:
E[relu' relu'] is then up to 9e-4 too large and the singular part of the gradient is left out.
Natural images of one data set are further apart; for near-duplicates take float64.
"""


def relu_nngp(k: Array, s12: Array, may_vanish: bool = False) -> Array:
    """E[relu(u) relu(v)] for covariance `k` and product of standard deviations `s12`.

    `s12` is positive; with `may_vanish` it may be 0, where the expectation is 0.
    """
    first, _ = _arc_cosine(_correlation(k, s12, may_vanish))
    return s12 * first


def relu_ntk(k: Array, t: Array, s12: Array, may_vanish: bool = False) -> tuple[Array, Array]:
    """`relu_nngp` and the tangent kernel `t` times E[relu'(u) relu'(v)]."""
    first, zeroth = _arc_cosine(_correlation(k, s12, may_vanish))
    return s12 * first, t * zeroth


def _correlation(k, s12, may_vanish):
    """k / s12, and 0 where s12 is 0."""
    if not may_vanish:
        return k / s12
    return jnp.where(s12 == 0, 0, k / jnp.where(s12 == 0, 1, s12))


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
