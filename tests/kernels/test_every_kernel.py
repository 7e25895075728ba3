"""What every kernel is held to. A network, an activation or a backend joins by one line."""

import functools
import itertools

import jax
import kernel_oracle as oracle
import numpy as np
import pytest

from paper_repro.core.kernels import Execution, KernelSpec, network_kernel

# Networks, with one for each activation, and image shapes, against neural-tangents: one line each.
NETWORKS = {
    "convnet": [(8, 8, 3), (9, 11, 1)],
    "convnet3": [(10, 8, 3)],
    "conv-3": [(5, 7, 3)],
    "myrtle-5": [(8, 8, 3)],
    "myrtle-7": [(7, 6, 1)],
    "myrtle-10": [(8, 8, 3)],
    "convnet-erf": [(8, 8, 2)],
    "conv-2-leakyrelu0.1": [(5, 4, 2)],
    "conv-1": [(4, 5, 2)],
    "fc2": [(4, 4, 3)],
    "fc2-erf": [(4, 4, 3)],
    "fc3-leakyrelu0.2": [(4, 4, 3)],
}
# What the jax backend compiles in every run of the tests; the rest is slow.
JAX = {
    *itertools.product(["conv-1"], oracle.GETS, ["float32", "float64"]),
    *itertools.product(["conv-2-leakyrelu0.1"], oracle.GETS, ["float32", "float64"]),
    ("convnet", "ntk", "float32"),
    ("convnet-erf", "ntk", "float32"),
    ("conv-3", "nngp", "float64"),
}
# Kernels of every kind, for what holds for all of them: one line each.
KERNELS = {
    "numba": lambda dtype: network_kernel("conv-1", backend="numba", dtype=dtype),
    "numba erf": lambda dtype: network_kernel("conv-1-erf", backend="numba", dtype=dtype),
    "jax": lambda dtype: network_kernel("conv-1", backend="jax", dtype=dtype),
    "closed form": lambda dtype: network_kernel("fc1", dtype=dtype),
    "RBF": lambda dtype: Execution(dtype=dtype).kernel(KernelSpec("RBF", scale=0.7)),
    "Laplace": lambda dtype: Execution(dtype=dtype).kernel(KernelSpec("Laplace", scale=0.7)),
}


def _cases():
    for name, shapes in NETWORKS.items():
        for shape, get, dtype in itertools.product(shapes, oracle.GETS, ["float32", "float64"]):
            backends = ["closed form"] if name.startswith("fc") else ["numba", "jax"]
            for backend in backends:
                slow = backend == "jax" and ((name, get, dtype) not in JAX or shape == (9, 11, 1))
                yield pytest.param(
                    *(name, shape, get, dtype, backend), marks=[pytest.mark.slow] * slow
                )


@pytest.mark.parametrize(("name", "shape", "get", "dtype", "backend"), list(_cases()))
def test_values_and_gradients_are_those_of_neural_tangents(name, shape, get, dtype, backend):
    x1, x2, cotangent, found = oracle.expected(name, shape)
    cross, same, gradient = found[get]
    backend = "auto" if backend == "closed form" else backend
    kernel_fn = network_kernel(name, backend=backend, dtype=dtype, get=get)
    k, pullback = kernel_fn.with_pullback(x1, x2)
    assert k.dtype == dtype
    assert oracle.relative(k, cross) <= oracle.VALUE[dtype]
    pulled = pullback(cotangent)
    assert pulled.shape == x1.shape and pulled.dtype == dtype
    assert oracle.norm_error(pulled, gradient) <= oracle.GRADIENT[dtype]
    # The same images on both sides: smaller tolerances off the diagonal, where nothing is singular.
    k = np.asarray(kernel_fn(x1))
    off = ~np.eye(len(x1), dtype=bool)
    assert oracle.relative(k[off], same[off]) <= oracle.VALUE[dtype]
    assert oracle.relative(k, same) <= oracle.COINCIDENT[dtype]
    second = kernel_fn.vjp(x2, x1, cotangent.T, argument=2)
    assert oracle.norm_error(second, gradient) <= oracle.GRADIENT[dtype]


def test_the_jax_backend_has_ten_oracle_cases_by_default():
    default = [case for case in _cases() if case.values[-1] == "jax" and not case.marks]
    assert len(default) >= 10


@functools.cache
def _kernel(kind, dtype="float32"):
    return KERNELS[kind](dtype)


@pytest.mark.parametrize("kind", KERNELS)
def test_prepared_images_rows_of_them_and_pullbacks(kind):
    kernel_fn = _kernel(kind)
    x1, x2 = oracle.images(3, (4, 5, 2)), oracle.images(7, (4, 5, 2), seed=1)
    cotangent = np.random.default_rng(2).normal(size=(3, 7))
    held, rows = kernel_fn.hold(x2), np.array([5, 0, 5])
    k = kernel_fn(x1, x2)
    assert np.array_equal(kernel_fn(kernel_fn.prepare(x1), held), k)
    assert np.array_equal(kernel_fn(x1, held[rows]), kernel_fn(x1, x2[rows]))
    whole, pullback = kernel_fn.with_pullback(x1, held)
    np.testing.assert_allclose(whole, k, rtol=1e-6)
    np.testing.assert_allclose(pullback(cotangent), kernel_fn.vjp(x1, x2, cotangent), rtol=1e-6)


@pytest.mark.parametrize("kind", KERNELS)
def test_a_self_kernel_is_symmetric_positive_and_smooth_on_the_diagonal(kind):
    kernel_fn = _kernel(kind, "float64")
    x, cotangent = oracle.images(5, (4, 5, 2)), oracle.images(5, (5,), seed=1)
    k = np.asarray(kernel_fn(x))
    np.testing.assert_allclose(k, k.T, rtol=1e-12)
    assert np.linalg.eigvalsh(k)[0] > 0
    gradient = kernel_fn.vjp(x, None, cotangent)
    step = 1e-6 * oracle.images(5, (4, 5, 2), seed=2)
    ahead, behind = (np.vdot(cotangent, kernel_fn(x + s)) for s in (step, -step))
    np.testing.assert_allclose(np.vdot(gradient, step), (ahead - behind) / 2, rtol=1e-5)


@pytest.mark.parametrize("kind", KERNELS)
def test_under_jit_and_grad(kind):
    kernel_fn = _kernel(kind)
    x1, x2 = (oracle.images(n, (4, 5, 2), seed=n).astype("float32") for n in (3, 4))
    np.testing.assert_allclose(jax.jit(kernel_fn)(x1, x2), kernel_fn(x1, x2), rtol=1e-5)
    found = jax.jit(jax.grad(lambda x: kernel_fn(x, x2).sum()))(x1)
    wanted = np.asarray(kernel_fn.vjp(x1, x2, np.ones((3, 4))))
    assert oracle.norm_error(found, wanted) <= 1e-5
