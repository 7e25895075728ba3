"""conv+ReLU on covariance tiles in JAX, with a hand-written reverse mode for the ReLU.

A tile is (H, W, n1, n2): pixels of the first image at one offset, all pairs of a block.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from paper_repro.core.kernels import arccosine


@jax.custom_vjp
def relu(k: jax.Array, t: jax.Array, s12: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(k', k' + t') after a ReLU, for covariance k, tangent kernel t and s12 = s1 s2.

    The derivatives are those of `numba_backend.reverse`; the singular terms are dropped where
    patches coincide. Zero variances give zero.
    """
    j1, j0 = _expectations(_correlation(k, s12))
    k_out = s12 * j1
    return k_out, k_out + t * j0


def _relu_fwd(k, t, s12):
    return relu(k, t, s12), (k, t, s12)


def _relu_bwd(saved, adjoints):
    k, t, s12 = saved
    kb, ub = adjoints
    c = _correlation(k, s12)
    j0, sine, inverse_sine = _derivatives(c)
    # Outside the image s12 = 0: nothing comes out whatever goes in.
    ub = jnp.where(s12 > 0, ub, 0)
    kb = jnp.where(s12 > 0, kb, 0) + ub
    q = ub * t * inverse_sine * _inverse(s12)
    return kb * j0 + q, ub * j0, kb * sine - c * q


relu.defvjp(_relu_fwd, _relu_bwd)


@jax.custom_vjp
def standard_deviation(k: jax.Array) -> jax.Array:
    """Square root of a variance, with zero gradient at zero."""
    return jnp.sqrt(jnp.maximum(k, 0))


def _standard_deviation_fwd(k):
    s = standard_deviation(k)
    return s, s


standard_deviation.defvjp(_standard_deviation_fwd, lambda s, ds: (0.5 * ds * _inverse(s),))


def box(tile: jax.Array) -> jax.Array:
    """3x3 sums over the pixels of a tile, zeros outside; its own transpose."""
    for axis in (0, 1):
        padding = [(1, 1) if a == axis else (0, 0) for a in range(tile.ndim)]
        padded = jnp.pad(tile, padding)
        size = tile.shape[axis]
        tile = sum(jax.lax.slice_in_dim(padded, a, a + size, axis=axis) for a in range(3))
    return tile


def _inverse(s):
    return jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1), 0)


def _correlation(k, s12):
    return k * _inverse(s12)


def _polynomial(table, z):
    *rest, value = table[z.dtype.name]
    for coefficient in reversed(rest):
        value = value * z + coefficient
    return value


def _expectations(c):
    z = 1 - jnp.abs(c)
    z = jnp.where(z > arccosine.coincident(z.dtype), z, 0)
    s = jnp.sqrt(z)
    angle = s * _polynomial(arccosine.P, z)
    j0 = jnp.where(c > 0, 0.5 - angle, angle)
    return 0.5 * jnp.maximum(c, 0) + s * z * _polynomial(arccosine.R, z), j0


def _derivatives(c):
    """(J0, sin(theta) / 2 pi, 1 / (2 pi sin(theta))); the last is zero where |c| is 1."""
    z = 1 - jnp.abs(c)
    threshold = arccosine.coincident(z.dtype)
    apart = z > threshold
    safe = jnp.where(apart, z, threshold)
    root = jnp.sqrt(safe * (2 - safe))
    sine = jnp.where(apart, root, 0)
    angle = sine * _polynomial(arccosine.T, safe)
    inverse_sine = jnp.where(apart, arccosine.INVERSE_TWO_PI / root, 0)
    j0 = jnp.where(c > 0, 0.5 - angle, angle)
    return j0, sine * arccosine.INVERSE_TWO_PI, inverse_sine
