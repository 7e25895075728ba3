"""The cheap kernels of arXiv 2011.00050: functions of x.x', |x|^2 and |x'|^2 alone.

RBF and Laplace kernels and those of fully connected networks differ only in a pointwise
function of three numbers per pair (`Form`), so they share one matrix product forward and one
backward. Inner products are divided by the number of input features d, as neural-tangents does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import Activation, ReLU
from paper_repro.core.kernels.activations.relu import COINCIDENT
from paper_repro.core.kernels.architecture import fully_connected
from paper_repro.core.kernels.kernel import Get, Kernel, known_get
from paper_repro.core.kernels.precision import float_dtype, precision
from paper_repro.core.kernels.prepared import Array, Prepared, images_of, require_images
from paper_repro.core.kernels.sharding import undivided, with_automatic_axes
from paper_repro.core.kernels.tracing import require_traceable

Parameters = Mapping[str, Array]


class Form(Protocol):
    """A kernel entry as a function of the scaled inner products; hashable, works on arrays."""

    def __call__(
        self, parameters: Parameters, q12: Array, q11: Array, q22: Array, get: Get
    ) -> Array:
        """Entries for q12 (n1, n2), q11 (n1, 1) and q22 (1, n2), each an inner product / d."""


@dataclasses.dataclass(frozen=True)
class _RBF:
    def __call__(self, parameters, q12, q11, q22, get):
        return jnp.exp(-parameters["scale"] * _squared_distance(q12, q11, q22))


@dataclasses.dataclass(frozen=True)
class _Laplace:
    def __call__(self, parameters, q12, q11, q22, get):
        squared = _squared_distance(q12, q11, q22)
        # The distance has no gradient at zero; there it is taken to be zero. What rounding
        # leaves of a zero distance, some eps of the squared norms, counts as zero.
        apart = squared > COINCIDENT * jnp.finfo(squared.dtype).eps * (q11 + q22)
        distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)
        return jnp.exp(-parameters["scale"] * distance)


@dataclasses.dataclass(frozen=True)
class _FullyConnected:
    depth: int
    w_variance: float
    b_variance: float
    # The name of the kernel has it too; its text enters the identity of runs, older ones as well.
    activation: Activation = dataclasses.field(default=ReLU(), repr=False)

    @property
    def is_homogeneous(self) -> bool:
        """Whether k(a x, b y) = a b k(x, y) for a, b > 0."""
        return self.b_variance == 0 and self.activation.homogeneous

    def __call__(self, parameters, q12, q11, q22, get):
        phi, may_vanish = self.activation, self.b_variance == 0
        k, k11, k22 = (self.b_variance + self.w_variance * q for q in (q12, q11, q22))
        t = k
        for _ in range(self.depth):
            k, derivative = phi.dense_pair(k, k11, k22, may_vanish)
            k11, k22 = phi.second_moment(k11), phi.second_moment(k22)
            t = t * derivative
            k, k11, k22 = (self.b_variance + self.w_variance * q for q in (k, k11, k22))
            t = k + self.w_variance * t
        return t if get == "ntk" else k


def _squared_distance(q12, q11, q22):
    return jnp.maximum(q11 + q22 - 2 * q12, 0)


class DotProductKernel(Kernel):
    """A kernel whose entries are a `Form` of inner products, differentiable, in plain JAX.

    Images of any shape count as vectors. Prepared targets stay on the device.

    Args:
      name: the name in result rows.
      form: an entry as a function of inner products.
      dtype: float32 or float64.
      get: `ntk` or `nngp`, which a form of a network takes.
      parameters: learnable parameters of the form by name.
      fixed: its other parameters.
    """

    # Entries cost little: blocks are large, and what KIP and Label Solve ask for is one of them.
    block_pairs = 2**24
    block_side = 2**24

    def __init__(
        self,
        name: str,
        form: Form,
        dtype: str | np.dtype = "float32",
        get: Get = "ntk",
        parameters: Mapping[str, float] | None = None,
        fixed: Mapping[str, float] | None = None,
    ):
        self.name = name
        self.form = form
        self.dtype = float_dtype(dtype)
        self.get = known_get(get)
        self.parameters = dict(parameters or {})
        self._fixed = dict(fixed or {})

    def _traced(self, x1: Array | Prepared, x2: Array | Prepared | None, get: Get | None) -> Array:
        require_traceable(self.dtype)
        return self.block(x1, x1 if x2 is None else x2, get)

    @property
    def definition(self) -> str:
        """See `Kernel.definition`."""
        return f"{super().definition} {self.form} {self._fixed}"

    def prepare(self, x: Array) -> Prepared:
        """Images on the device with |x|^2 / d."""
        require_images(x)
        with precision(self.dtype):
            images = jnp.asarray(undivided(images_of(x)), self.dtype)
            return Prepared(images, (_squared_norms(images),), self.dtype.name)

    def block(self, x1: Array | Prepared, x2: Array | Prepared, get: Get | None = None) -> Array:
        """See `Kernel.block`."""
        if moved := self._scaled(x1, x2):
            return moved.entries(self.block(moved.x1, moved.x2, get))
        with precision(self.dtype):
            entries = partial(_block_of, self._form(get), self._parameters())
            x1, x2, q11, q22 = self._inputs(x1, x2)
            return with_automatic_axes(entries, (x1, q11), (x2, q22))

    def block_vjp(
        self, x1: Array, x2: Array | Prepared, cotangent: Array, get: Get | None = None
    ) -> Array:
        """See `Kernel.block_vjp`."""
        _, pullback = self.block_and_pullback(x1, x2, get)
        return pullback(cotangent)

    def block_and_pullback(
        self, x1: Array, x2: Array | Prepared, get: Get | None = None
    ) -> tuple[Array, Callable[[Array], Array]]:
        """See `Kernel.block_and_pullback`; the pointwise derivatives are kept for the pullback."""
        if moved := self._scaled(x1, x2):
            k, pullback_of_moved = self.block_and_pullback(moved.x1, moved.x2, get)
            return moved.entries(k), lambda c: pullback_of_moved(moved.cotangent(c))
        with precision(self.dtype):
            inputs = self._inputs(x1, x2)
            k, derivative = _block_and_derivative(self._form(get), self._parameters(), *inputs)

        def pullback(cotangent: Array) -> Array:
            with precision(self.dtype):
                cotangent = jnp.asarray(cotangent, self.dtype)
                if cotangent.shape != k.shape:
                    raise UserError(f"cotangent {cotangent.shape} does not match block {k.shape}")
                return _pull_back(derivative, inputs[0], inputs[1], cotangent)

        return k, pullback

    def with_parameters(self, parameters: Mapping[str, float]) -> DotProductKernel:
        """See `Kernel.with_parameters`."""
        if set(parameters) != set(self.parameters):
            return super().with_parameters(parameters)
        changed = DotProductKernel(
            self.name, self.form, self.dtype, self.get, parameters, self._fixed
        )
        changed.pool = self.pool
        return changed

    def block_parameter_vjp(
        self, x1: Array | Prepared, x2: Array | Prepared, cotangent: Array
    ) -> Mapping[str, float]:
        """See `Kernel.block_parameter_vjp`."""
        with precision(self.dtype):
            gradient = _parameter_vjp(
                self._form(None),
                self._parameters(),
                *self._inputs(x1, x2),
                jnp.asarray(cotangent, self.dtype),
            )
            return {name: float(gradient[name]) for name in self.parameters}

    @property
    def _is_homogeneous(self) -> bool:
        return getattr(self.form, "is_homogeneous", False)

    def _form(self, get: Get | None) -> tuple[Form, Get]:
        return self.form, known_get(self.get if get is None else get)

    def _inputs(self, x1: Array | Prepared, x2: Array | Prepared) -> tuple[Array, ...]:
        """Images of both arguments, then their scaled squared norms."""
        require_images(x1, x2)
        p1, p2 = self._prepared(x1), self._prepared(x2)
        return p1.images, p2.images, p1.features[0], p2.features[0]

    def _parameters(self) -> dict[str, Array]:
        values = {**self._fixed, **self.parameters}
        return {name: jnp.asarray(value, self.dtype) for name, value in values.items()}

    def _prepared(self, x: Array | Prepared) -> Prepared:
        return x if isinstance(x, Prepared) and x.made_by == self.dtype.name else self.prepare(x)


def rbf(
    scale: float = 1.0, learn_scale: bool = False, dtype: str | np.dtype = "float32"
) -> DotProductKernel:
    """RBF kernel exp(-scale |x - x'|^2 / d); with `learn_scale` the scale is a parameter."""
    return _with_scale("RBF", _RBF(), scale, learn_scale, dtype)


def laplace(
    scale: float = 1.0, learn_scale: bool = False, dtype: str | np.dtype = "float32"
) -> DotProductKernel:
    """Laplace kernel exp(-scale |x - x'| / sqrt(d)), the L2 twin of `rbf`.

    It has a kink where the images coincide; the gradient there is zero.
    """
    return _with_scale("Laplace", _Laplace(), scale, learn_scale, dtype)


def fully_connected_kernel(
    depth: int,
    dtype: str | np.dtype = "float32",
    get: Get = "ntk",
    w_std: float = 2.0**0.5,
    b_std: float = 0.1,
    activation: Activation = ReLU(),  # noqa: B008, frozen
) -> DotProductKernel:
    """NTK or NNGP of an infinitely wide network with `depth` hidden layers, closed form.

    Cho and Saul (2009), equations 3-6, for the ReLU expectations; Jacot et al. (2018) for the
    NTK recursion. W_std and b_std default to those of arXiv 2011.00050.
    """
    if depth < 1:
        raise UserError(f"a fully connected kernel needs at least one hidden layer, not {depth}")
    form = _FullyConnected(depth, w_std**2, b_std**2, activation)
    name = fully_connected(depth, activation).name
    return DotProductKernel(name, form, dtype, get)


def _with_scale(name, form, scale, learn_scale, dtype):
    if not (np.isfinite(scale) and scale > 0):
        raise UserError(f"the scale of a kernel must be positive and finite, not {scale}")
    if learn_scale:
        return DotProductKernel(name, form, dtype, parameters={"scale": scale})
    return DotProductKernel(name, form, dtype, fixed={"scale": scale})


@jax.jit
def _squared_norms(x):
    flat = _flat(x)
    return jnp.sum(flat * flat, axis=1) / flat.shape[1]


def _block_of(form, parameters, first, second):
    (x1, q11), (x2, q22) = first, second
    return _block(form, parameters, x1, x2, q11, q22)


@partial(jax.jit, static_argnums=0)
def _block(form, parameters, x1, x2, q11, q22):
    entries, get = form
    return entries(parameters, _inner(x1, x2), q11[:, None], q22[None, :], get)


@partial(jax.jit, static_argnums=0)
def _block_and_derivative(form, parameters, x1, x2, q11, q22):
    entries, get = form
    return jax.vjp(
        lambda q12, q11: entries(parameters, q12, q11[:, None], q22[None, :], get),
        _inner(x1, x2),
        q11,
    )


@jax.jit
def _pull_back(derivative, x1, x2, cotangent):
    d12, d11 = derivative(cotangent)
    flat1, flat2 = _flat(x1), _flat(x2)
    through_pairs = jnp.dot(d12, flat2, precision=jax.lax.Precision.HIGHEST)
    dx1 = (through_pairs + 2 * d11[:, None] * flat1) / flat1.shape[1]
    return dx1.reshape(x1.shape)


@partial(jax.jit, static_argnums=0)
def _parameter_vjp(form, parameters, x1, x2, q11, q22, cotangent):
    def entries(parameters):
        return _block(form, parameters, x1, x2, q11, q22)

    return jax.vjp(entries, parameters)[1](cotangent)[0]


def _inner(x1, x2):
    flat1, flat2 = _flat(x1), _flat(x2)
    return jnp.dot(flat1, flat2.T, precision=jax.lax.Precision.HIGHEST) / flat1.shape[1]


def _flat(x):
    return x.reshape(len(x), math.prod(x.shape[1:]))
