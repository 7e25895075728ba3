"""Every architecture, NNGP and NTK, cross and self kernels, against neural-tangents."""

import kernel_oracle as oracle
import numpy as np
import pytest

from paper_repro.core.kernels import network_kernel


def _check(backend, name, shape, get, dtype):
    x1, x2, cotangent, k_cross, k_self, gradient = oracle.expected(name, shape, get)
    kernel_fn = network_kernel(name, backend=backend, dtype=dtype, get=get)
    found = kernel_fn.block(x1, x2)
    assert np.asarray(found).dtype == dtype
    assert oracle.relative(found, k_cross) <= oracle.VALUE[dtype]
    found = np.asarray(kernel_fn.block(x1, x1))
    off = ~np.eye(len(x1), dtype=bool)
    assert oracle.relative(found[off], k_self[off]) <= oracle.VALUE[dtype]
    assert oracle.relative(found, k_self) <= oracle.COINCIDENT[dtype]
    found = kernel_fn.block_vjp(x1, x2, cotangent)
    assert np.shape(found) == x1.shape
    assert oracle.norm_error(found, gradient) <= oracle.GRADIENT[dtype]
    found = kernel_fn.vjp(x2, x1, cotangent.T, argument=2)
    assert oracle.norm_error(found, gradient) <= oracle.GRADIENT[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("get", ["ntk", "nngp"])
@pytest.mark.parametrize(("name", "shape"), oracle.SMALL)
def test_numba_agrees(name, shape, get, dtype):
    _check("numba", name, shape, get, dtype)


@pytest.mark.parametrize(
    ("name", "shape", "get", "dtype"),
    [
        ("convnet", (9, 11, 1), "ntk", "float32"),
        ("conv-3", (5, 7, 3), "nngp", "float64"),
    ],
)
def test_jax_agrees(name, shape, get, dtype):
    _check("jax", name, shape, get, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("get", ["ntk", "nngp"])
@pytest.mark.parametrize(("name", "shape"), oracle.SMALL)
def test_jax_agrees_everywhere(name, shape, get, dtype):
    _check("jax", name, shape, get, dtype)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_fully_connected_through_the_factory(backend):
    x1, x2, cotangent, k_cross, _, gradient = oracle.expected("fc2", (4, 4, 3), "ntk")
    kernel_fn = network_kernel("fc2", backend=backend)
    assert oracle.relative(kernel_fn(x1, x2), k_cross) <= oracle.VALUE["float32"]
    found = kernel_fn.vjp(x1, x2, cotangent)
    assert oracle.norm_error(found, gradient) <= oracle.GRADIENT["float32"]


@pytest.mark.parametrize("shape", [(32, 32, 3), pytest.param((28, 28, 1), marks=pytest.mark.slow)])
def test_paper_convnet_at_full_size(shape):
    x1, x2 = oracle.images(1, shape), oracle.images(2, shape, seed=1)
    exact = oracle.kernel("convnet", "ntk")
    k, gradient = exact.block(x1, x2), exact.block_vjp(x1, x2, np.ones((1, 2)))
    for dtype in ("float32", "float64"):
        kernel_fn = network_kernel("convnet", backend="numba", dtype=dtype)
        assert oracle.relative(kernel_fn(x1, x2), k) <= oracle.VALUE[dtype]
        found = kernel_fn.vjp(x1, x2, np.ones((1, 2)))
        assert oracle.norm_error(found, gradient) <= oracle.GRADIENT[dtype]
