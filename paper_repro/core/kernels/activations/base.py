"""What an activation is: everything that networks, finite and infinite, ask of it.

Pre-activations of an infinitely wide network are Gaussian. For two of them, u and v, with variances
q1 and q2 and covariance k, a kernel needs

    E[phi(u)^2]          the variance that goes on,          `second_moment`
    E[phi(u) phi(v)]     the covariance that goes on,        `pair`, first result
    E[phi'(u) phi'(v)]   what the tangent kernel is scaled by, `pair`, second result

The second expectation is the derivative of the first with respect to k (Price 1958). Images keep,
for every pre-activation, a *norm*, some function of the variance alone (`norm`): the standard
deviation for a ReLU.

A new activation is one file beside this one and a line in `activations.__init__`. It needs
`value`, `second_moment`, `pair` and `label`; `neural_tangents` adds the oracle, `numba_form` the
numba backend, which networks of activations without one leave to the jax backend.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from paper_repro.core.errors import UserError


class NumbaForm(Protocol):
    """A NamedTuple of numbers of the kernel's dtype, with static functions on `Lanes`.

    They are plain Python, compiled into the loops of the numba backend; `compiled`
    has their descriptions and the order of arguments.
    """

    @staticmethod
    def norm(form, variance): ...  # noqa: D102

    @staticmethod
    def second_moment(form, variance): ...  # noqa: D102

    @staticmethod
    def variance_pullback(form, s, d_moment, d_s): ...  # noqa: D102

    @staticmethod
    def expectations(form, c, s12, inverse12): ...  # noqa: D102

    @staticmethod
    def pullback(form, c, t, kb, ub, s12, inverse12): ...  # noqa: D102


class Activation(abc.ABC):
    """A pointwise layer phi of an `Architecture`; subclasses are frozen dataclasses.

    Attributes:
      vanishes: whether both results of `layer` are finite, and k' is 0, where a norm is 0, whatever
        k is; other activations are given k = 0 there.
      homogeneous: whether phi(a x) = a phi(x) for a > 0.
      flops_forward, flops_reverse: additions and multiplications per covariance entry, those of
        the tangent kernel included, a fused multiply-add counted as two.
    """

    vanishes: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    flops_forward: ClassVar[int] = 45
    flops_reverse: ClassVar[int] = 66

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """How architectures with it are named, for instance `Erf` in `ConvNet-Erf`."""

    @abc.abstractmethod
    def value(self, x: jax.Array) -> jax.Array:
        """phi(x), for a finite network."""

    @abc.abstractmethod
    def second_moment(self, q: jax.Array) -> jax.Array:
        """E[phi(u)^2] for the variance q of u."""

    @abc.abstractmethod
    def pair(self, k: jax.Array, s1: jax.Array, s2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(E[phi(u) phi(v)], E[phi'(u) phi'(v)]), differentiable by JAX.

        Args:
          k: covariance of u and v, an array of any shape.
          s1: norm of u, of a shape that k's is broadcast from; 0 where there is no pixel.
          s2: norm of v, likewise.
        """

    def norm(self, q: jax.Array) -> jax.Array:
        """What `pair` takes of a variance q; q itself unless overridden."""
        return q

    def layer(
        self, k: jax.Array, t: jax.Array, s1: jax.Array, s2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(k', k' + t E[phi' phi']) for k' = E[phi phi] and a tangent kernel t: one tile.

        Override it where a hand-written reverse mode is better than JAX's of `pair`.
        """
        first, second = self.pair(k, s1, s2)
        return first, first + t * second

    def dense_pair(
        self, k: jax.Array, q1: jax.Array, q2: jax.Array, may_vanish: bool
    ) -> tuple[jax.Array, jax.Array]:
        """`pair` of variances, in the closed form of fully connected networks.

        Args:
          k: covariances (n1, n2).
          q1: variances (n1, 1).
          q2: variances (1, n2).
          may_vanish: whether a variance may be 0, which a bias excludes.
        """
        del may_vanish
        return self.pair(k, self.norm(q1), self.norm(q2))

    def numba_form(self, dtype: np.dtype) -> NumbaForm | None:
        """What the numba backend compiles for it; None where it has no such form."""
        del dtype
        return None

    def neural_tangents(self, stax: Any) -> Any:
        """The layer of neural-tangents' `stax`, the oracle.

        Raises:
          UserError: neural-tangents has none.
        """
        del stax
        raise UserError(f"neural-tangents has no {self.label} activation")
