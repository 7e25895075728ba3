"""Real MNIST and Fashion-MNIST images, whose flat backgrounds make most patches coincide."""

import numpy as np
import pytest

from paper_repro.core.data import load_dataset
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import convnet
from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel
from paper_repro.core.preprocess import fitted

TOLERANCE = {"float32": 1e-4, "float64": 1e-7}


@pytest.fixture(scope="module")
def oracle():
    return NeuralTangentsKernel(convnet(), "float64")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_self_kernel_of_real_images_equals_neural_tangents(name, oracle):
    data = load_dataset(name)
    x = fitted(data, "standard").apply(data.x_train[:3], "float64")
    expected = oracle.block(x, x)
    for dtype, tolerance in TOLERANCE.items():
        kernel_fn = network_kernel("convnet", backend="numba", dtype=dtype)
        found = np.asarray(kernel_fn(x))
        assert np.max(np.abs(found / expected - 1)) <= tolerance, dtype


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_gradient_of_real_images_is_the_central_difference(name):
    """Where patches coincide the kink is even in the perturbation: the smooth part is left."""
    data = load_dataset(name)
    x = fitted(data, "standard").apply(data.x_train[:3], "float64")
    cotangent = np.random.default_rng(0).normal(size=(3, 3))
    exact = network_kernel("convnet", backend="numba", dtype="float64")
    gradient = exact.vjp(x, None, cotangent)
    for seed in range(2):
        step = 1e-5 * np.random.default_rng(seed).normal(size=x.shape)
        ahead, behind = (np.vdot(cotangent, exact(x + s)) for s in (step, -step))
        scale = np.linalg.norm(gradient) * np.linalg.norm(step)
        assert abs((ahead - behind) / 2 - np.vdot(gradient, step)) <= 2e-4 * scale
    single = network_kernel("convnet", backend="numba").vjp(x, None, cotangent)
    assert np.linalg.norm(single - gradient) <= 1e-3 * np.linalg.norm(gradient)
