"""LeakyReLU: x for x > 0, slope x otherwise; that is slope x + (1 - slope) max(x, 0)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import compiled as of
from paper_repro.core.kernels.activations.base import Activation
from paper_repro.core.kernels.activations.relu import ReLU, ReLUForm


@dataclasses.dataclass(frozen=True)
class LeakyReLU(Activation):
    """Pointwise max(x, 0) + slope min(x, 0), for a slope in [0, 1).

    Both expectations are slope times those of the identity plus (1 - slope)^2 times a ReLU's, since
    E[u relu(v)] is half of E[u v].
    """

    homogeneous = True
    slope: float = 0.01

    def __post_init__(self):
        if not 0 <= self.slope < 1:
            raise UserError(f"the slope of a LeakyReLU must be in [0, 1), not {self.slope}")

    @property
    def label(self) -> str:
        """See `Activation.label`."""
        return f"LeakyReLU{np.format_float_positional(self.slope, trim='-')}"

    @property
    def _gain(self) -> float:
        return (1 - self.slope) ** 2

    def value(self, x: jax.Array) -> jax.Array:
        """See `Activation.value`."""
        return jax.nn.leaky_relu(x, self.slope)

    def second_moment(self, q: jax.Array) -> jax.Array:
        """See `Activation.second_moment`."""
        return (1 + self.slope**2) / 2 * q

    def norm(self, q: jax.Array) -> jax.Array:
        """The standard deviation."""
        return ReLU().norm(q)

    def pair(self, k: jax.Array, s1: jax.Array, s2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Activation.pair`."""
        return self._mixed(k, *ReLU().pair(k, s1, s2))

    def layer(
        self, k: jax.Array, t: jax.Array, s1: jax.Array, s2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """See `Activation.layer`."""
        first, both = ReLU().layer(k, t, s1, s2)
        return self.slope * k + self._gain * first, self.slope * (k + t) + self._gain * both

    def dense_pair(
        self, k: jax.Array, q1: jax.Array, q2: jax.Array, may_vanish: bool
    ) -> tuple[jax.Array, jax.Array]:
        """See `Activation.dense_pair`."""
        return self._mixed(k, *ReLU().dense_pair(k, q1, q2, may_vanish))

    def _mixed(self, k: jax.Array, first: jax.Array, second: jax.Array) -> tuple:
        return self.slope * k + self._gain * first, self.slope + self._gain * second

    def numba_form(self, dtype: np.dtype) -> LeakyReLUForm:
        """See `Activation.numba_form`."""
        numbers = (self.slope, self._gain, (1 + self.slope**2) / 2)
        return LeakyReLUForm(ReLU().numba_form(dtype), *map(dtype.type, numbers))

    def neural_tangents(self, stax: Any) -> Any:
        """See `Activation.neural_tangents`."""
        return stax.LeakyRelu(self.slope)


class LeakyReLUForm(NamedTuple):
    """See `base.NumbaForm`."""

    relu: ReLUForm
    slope: float
    gain: float
    moment: float

    @staticmethod
    def norm(form, variance):
        """The standard deviation."""
        return of.norm(form.relu, variance)

    @staticmethod
    def second_moment(form, variance):
        """(1 + slope^2) / 2 of the variance."""
        return form.moment * variance

    @staticmethod
    def variance_pullback(form, s, d_moment, d_s):
        """A ReLU's halves d_moment."""
        return of.variance_pullback(form.relu, s, 2.0 * form.moment * d_moment, d_s)

    @staticmethod
    def expectations(form, c, s12, inverse12):
        """The mixture of k = s12 c and of a ReLU's."""
        first, second = of.expectations(form.relu, c, s12, inverse12)
        return form.slope * (s12 * c) + form.gain * first, form.slope + form.gain * second

    @staticmethod
    def pullback(form, c, t, kb, ub, s12, inverse12):
        """The identity's part has derivative 1 in k and none in s12."""
        derivative, q, d12 = of.pullback(form.relu, c, t, kb, ub, s12, inverse12)
        return form.slope + form.gain * derivative, form.gain * q, form.gain * d12
