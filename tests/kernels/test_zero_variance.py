"""Where a patch is zero and there is no bias: one gradient in every backend, neural-tangents'.

The kernel of a ReLU network has one-sided derivatives there. With one hidden layer their mean,
which the central difference is, is the gradient; every further layer takes its part likewise.
"""

import dataclasses
import functools

import kernel_oracle as oracle
import numpy as np
import pytest
from cuda_host import HostDevice, compiler

from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import conv, convnet, from_name
from paper_repro.core.kernels.cuda_backend.kernel import CudaKernel
from paper_repro.core.kernels.dot_product import fully_connected_kernel
from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

DTYPES = ("float32", "float64")
# Of the largest entry of the gradient; central differences are exact but for their step.
LIMIT = {"float32": 1e-5, "float64": 1e-6}
BACKENDS = (
    "numba",
    "jax",
    # Compiling the host build takes minutes.
    pytest.param("cuda", marks=pytest.mark.slow),
)


def without_bias(architecture, **changes):
    return dataclasses.replace(architecture, b_std=0.0, **changes)


def made(architecture, backend, dtype="float64", get="ntk"):
    if backend == "cuda":
        if compiler() is None:
            pytest.skip("no C++ compiler here")
        return CudaKernel(architecture, dtype, get, devices=(host_device(),))
    return network_kernel(architecture, backend=backend, dtype=dtype, get=get)


@functools.cache
def host_device():
    return HostDevice()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("get", oracle.GETS)
def test_one_pixel(backend, get):
    architecture = without_bias(conv(1), w_std=1.0)
    x1, x2 = np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    wanted = {"nngp": 1 / 36, "ntk": 1 / 18}[get]
    theirs = NeuralTangentsKernel(architecture, "float64", get).block_vjp(x1, x2, np.ones((1, 1)))
    np.testing.assert_allclose(theirs.item(), wanted, rtol=1e-12)
    for dtype in DTYPES:
        found = made(architecture, backend, dtype, get).block_vjp(x1, x2, np.ones((1, 1)))
        np.testing.assert_allclose(np.asarray(found).item(), wanted, rtol=1e-6)


@pytest.mark.parametrize("get", oracle.GETS)
def test_fully_connected(get):
    x1, x2 = np.zeros((1, 1, 1, 2)), np.ones((1, 1, 1, 2))
    wanted = {"nngp": 0.125, "ntk": 0.25}[get]
    theirs = NeuralTangentsKernel(without_bias(from_name("fc1"), w_std=1.0), "float64", get)
    for dtype in DTYPES:
        kernels = (fully_connected_kernel(1, dtype, get, w_std=1.0, b_std=0), theirs)
        for kernel_fn in kernels:
            found = np.asarray(kernel_fn.block_vjp(x1, x2, np.ones((1, 1))))
            np.testing.assert_allclose(found, np.full(x1.shape, wanted), rtol=1e-6)


def partly_zero(shape):
    """Images: of zeros, with a half of zeros, ordinary."""
    x = oracle.images(3, shape)
    x[0] = 0
    x[1, : (shape[0] + 1) // 2] = 0
    return x, oracle.images(4, shape, seed=1)


@pytest.mark.parametrize("backend", [*BACKENDS, "closed form"])
@pytest.mark.parametrize("get", oracle.GETS)
def test_the_gradient_is_the_central_difference(backend, get):
    if backend == "closed form":
        names, shape = ["fc1", "fc1-leakyrelu0.2"], (3, 2, 1)
    else:
        names, shape = ["conv-1", *["conv-1-leakyrelu0.1"] * (backend != "cuda")], (5, 4, 1)
    x1, x2 = partly_zero(shape)
    cotangent = np.random.default_rng(5).normal(size=(3, 4))
    direction = oracle.images(3, shape, seed=2)
    for name in names:
        architecture = without_bias(from_name(name))
        exact = made(architecture, "auto" if backend == "closed form" else "numba", get=get)
        # Of each image by itself, so that a large one hides no small one.
        ahead, behind = (exact.block(x1 + s * direction, x2) for s in (1e-7, -1e-7))
        difference = np.sum(cotangent * (np.asarray(ahead) - np.asarray(behind)), 1) / 2e-7
        for dtype in DTYPES:
            kernel_fn = made(
                architecture, "auto" if backend == "closed form" else backend, dtype, get
            )
            gradient = np.asarray(kernel_fn.block_vjp(x1, x2, cotangent))
            along = np.sum(gradient * direction, (1, 2, 3))
            scale = np.abs(gradient).sum((1, 2, 3))
            assert np.all(np.abs(along - difference) <= LIMIT[dtype] * scale), (name, dtype)


@pytest.mark.parametrize("name", ["conv-2", "fc2"])
def test_deeper_networks_agree_with_neural_tangents(name):
    # Three channels, so that no two patches coincide by their sign alone.
    x1, x2 = oracle.images(3, (3, 3, 3)), oracle.images(2, (3, 3, 3), seed=1)
    x1[0], x1[1, :2] = 0, 0
    seeds = np.random.default_rng(5).normal(size=(3, 2))
    architecture = without_bias(from_name(name))
    wanted = NeuralTangentsKernel(architecture, "float64").block_vjp(x1, x2, seeds)
    for backend in ("auto",) if name == "fc2" else ("numba", "jax"):
        for dtype in DTYPES:
            found = np.asarray(made(architecture, backend, dtype).block_vjp(x1, x2, seeds))
            for row, image in zip(found, wanted, strict=True):
                assert oracle.norm_error(row, image) <= oracle.GRADIENT[dtype], (backend, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pooled_network_agrees_across_backends(backend):
    shape = (6, 5, 1)
    x1, x2 = partly_zero(shape)
    seeds = np.random.default_rng(5).normal(size=(3, 4))
    architecture = without_bias(convnet(1))
    wanted = made(architecture, "numba").block_vjp(x1, x2, seeds)
    found = np.asarray(made(architecture, backend, "float32").block_vjp(x1, x2, seeds))
    for row, image in zip(found, wanted, strict=True):
        assert oracle.norm_error(row, image) <= 1e-5
