"""Activations: their expectations in compiled code, their names, and how one is added."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numba import njit

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import architecture as arch
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.activations import (
    ACTIVATIONS,
    Activation,
    Erf,
    LeakyReLU,
    ReLU,
    from_name,
)
from paper_repro.core.kernels.activations.compiled import (
    expectations,
    norm,
    pullback,
    second_moment,
    variance_pullback,
)
from paper_repro.core.kernels.jax_backend.kernel import JaxKernel
from paper_repro.core.kernels.lanes import load, store


@njit
def _evaluate(form, c, lanes, out):
    """At s12 = 1: both expectations, then the pullback of ub t = 1 alone and of kb = 1 alone."""
    for n in range(0, len(c), lanes):
        x = load(c, n)
        one, none = 0.0 * x + 1.0, 0.0 * x
        first, second = expectations(form, x, one, one)
        store(out[0], n, first)
        store(out[1], n, second)
        derivative, slope, _ = pullback(form, x, one, none, one, one, one)
        store(out[2], n, derivative)
        store(out[3], n, slope)
        _, _, d12 = pullback(form, x, none, one, none, one, one)
        store(out[4], n, d12)


def _evaluated(activation, c, dtype):
    out = tuple(np.zeros_like(c) for _ in range(5))
    _evaluate(activation.numba_form(np.dtype(dtype)), c, 64 // np.dtype(dtype).itemsize, out)
    return out


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1.5e-7), ("float64", 4e-16)])
def test_accuracy_of_the_relu(dtype, tolerance):
    c = np.concatenate([np.linspace(-1, 1, 4096), 1 - np.logspace(-7, -1, 4096)]).astype(dtype)
    threshold = ReLU().numba_form(np.dtype(dtype)).threshold
    exact = c.astype(np.longdouble)
    apart = 1 - np.abs(exact) > threshold
    exact = np.where(apart, exact, np.sign(exact))
    theta = np.arccos(exact)
    two_pi = 2 * np.arccos(np.longdouble(-1))
    wanted_j1 = (np.sin(theta) + (two_pi / 2 - theta) * exact) / two_pi
    wanted_j0 = (two_pi / 2 - theta) / two_pi
    j1, j0, derivative, inverse, sine = _evaluated(ReLU(), c, dtype)
    # Where c is taken to be 1 the first expectation keeps c itself, a few eps away.
    assert np.abs(j1 - wanted_j1)[apart].max() < tolerance
    assert np.abs(j0 - wanted_j0).max() < tolerance
    assert np.abs(derivative - wanted_j0).max() < 2 * tolerance
    assert np.abs(sine - np.sqrt((1 - exact) * (1 + exact)) / two_pi).max() < tolerance
    root = np.sqrt((1 - exact[apart]) * (1 + exact[apart]))
    assert np.abs(inverse[apart] * two_pi * root - 1).max() < 4 * tolerance
    assert (inverse[~apart] == 0).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 4e-7), ("float64", 1e-15)])
def test_accuracy_of_erf(dtype, tolerance):
    c = np.linspace(-0.99, 0.99, 4096).astype(dtype)
    exact = c.astype(np.longdouble)
    root = np.sqrt((1 - exact) * (1 + exact))
    factor = 1 / np.arccos(np.longdouble(0))
    wanted = [np.arcsin(exact), 1 / root, 1 / root, exact / root**3, -exact / root]
    for found, value in zip(_evaluated(Erf(), c, dtype), wanted, strict=True):
        assert (np.abs(found - factor * value) <= tolerance * (1 + np.abs(value / root**2))).all()


@njit
def _variances(form, q, lanes, out):
    for n in range(0, len(q), lanes):
        x = load(q, n)
        s = norm(form, x)
        store(out[0], n, s)
        store(out[1], n, second_moment(form, x))
        store(out[2], n, variance_pullback(form, s, 0.0 * x + 1.0, 0.0 * x))
        store(out[3], n, variance_pullback(form, s, 0.0 * x, 0.0 * x + 1.0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_variances_are_those_of_jax(name):
    activation = ACTIVATIONS[name]()
    form = activation.numba_form(np.dtype("float64"))
    if form is None:
        pytest.skip(f"{activation.label} has no numba form")
    q = np.logspace(-3, 3, 64)
    out = tuple(np.zeros_like(q) for _ in range(4))
    _variances(form, q, 8, out)
    with jax.enable_x64(True):
        for found, function in zip(out, (activation.norm, activation.second_moment), strict=False):
            np.testing.assert_allclose(found, function(jnp.asarray(q)), rtol=1e-13)
        slopes = [
            jax.vmap(jax.grad(function))(jnp.asarray(q))
            for function in (activation.second_moment, activation.norm)
        ]
    for found, wanted in zip(out[2:], slopes, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_names():
    assert arch.from_name("convnet").name == "ConvNet" == arch.from_name("convnet-relu").name
    for name, activation in (
        ("ConvNet-Erf", Erf()),
        ("FC2-Erf", Erf()),
        ("Conv-3-LeakyReLU0.1", LeakyReLU(0.1)),
        ("Myrtle-5-LeakyReLU0.01", LeakyReLU()),
        ("ConvNet3-Erf", Erf()),
    ):
        found = arch.from_name(name.lower())
        assert found.name == name and activation in found.layers
        assert arch.from_name(name) == found
    assert from_name("leakyrelu0.5") == LeakyReLU(0.5)
    for wrong in ("convnet-gelu", "convnet-erf2", "erf"):
        with pytest.raises(UserError, match=r"unknown architecture|takes no number"):
            arch.from_name(wrong)
    with pytest.raises(UserError, match="unknown activation"):
        from_name("gelu")


def test_definitions_of_relu_networks_stay_as_they_were():
    """They enter the identity of recorded runs."""
    convolutional = (
        "Conv-1 ntk float32 Architecture(name='Conv-1', layers=(Conv(), ReLU(), Flatten(), "
        "Dense()), w_std=1.4142135623730951, b_std=0.1)"
    )
    assert network_kernel("conv-1", backend="numba").definition == convolutional
    dense = (
        "FC1 ntk float32 _FullyConnected(depth=1, w_variance=2.0000000000000004, "
        "b_variance=0.010000000000000002) {}"
    )
    assert network_kernel("fc1").definition == dense
    assert network_kernel("fc1-erf").definition == dense.replace("FC1", "FC1-Erf")
    assert "LeakyReLU(slope=0.1)" in network_kernel("conv-1-leakyrelu0.1").definition


@dataclasses.dataclass(frozen=True)
class Cubic(Activation):
    """u^3: all that an activation must define."""

    @property
    def label(self):
        return "Cubic"

    def value(self, x):
        return x**3

    def second_moment(self, q):
        return 15 * q**3

    def pair(self, k, s1, s2):
        return 9 * s1 * s2 * k + 6 * k**3, 9 * s1 * s2 + 18 * k**2


def test_an_activation_without_a_numba_form_runs_on_jax():
    architecture = arch.Architecture("Cubic", (arch.Conv(), Cubic(), arch.Flatten(), arch.Dense()))
    x = np.random.default_rng(0).normal(size=(4, 4, 3, 2))
    kernel_fn = network_kernel(architecture, dtype="float64")
    assert isinstance(kernel_fn, JaxKernel)
    k = kernel_fn(x)
    np.testing.assert_allclose(k, kernel_fn(x, x.copy()), rtol=1e-12)
    assert np.linalg.eigvalsh(k)[0] > 0
    step = 1e-6 * np.random.default_rng(1).normal(size=x.shape)
    difference = (kernel_fn(x + step) - kernel_fn(x - step)).sum() / 2
    gradient = kernel_fn.vjp(x, None, np.ones((4, 4)))
    np.testing.assert_allclose(np.vdot(gradient, step), difference, rtol=1e-6)
    with pytest.raises(UserError, match="the numba backend has no Cubic activation"):
        network_kernel(architecture, backend="numba")
    with pytest.raises(UserError, match="neural-tangents has no Cubic"):
        network_kernel(architecture, backend="neural_tangents")


def test_a_mixture_of_activations_runs_on_jax():
    layers = (arch.Conv(), ReLU(), arch.AvgPool(), arch.Conv(), Erf(), arch.Flatten(), arch.Dense())
    architecture = arch.Architecture("Both", layers)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    exact = network_kernel(architecture, backend="neural_tangents", dtype="float64")
    kernel_fn = network_kernel(architecture, dtype="float64")
    assert isinstance(kernel_fn, JaxKernel)
    np.testing.assert_allclose(kernel_fn(x[:1], x[1:]), exact(x[:1], x[1:]), rtol=1e-11)
    with pytest.raises(UserError, match="no mixture of activations"):
        network_kernel(architecture, backend="numba")
