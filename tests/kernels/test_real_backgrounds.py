"""Real MNIST and Fashion-MNIST images, whose flat backgrounds make most patches coincide."""

import numpy as np
import pytest

from paper_repro.core.architecture import convnet
from paper_repro.core.data import load_dataset
from paper_repro.core.kernels import network_kernel
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
        gradient = np.asarray(kernel_fn.vjp(x, None, np.ones((3, 3), dtype)))
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
