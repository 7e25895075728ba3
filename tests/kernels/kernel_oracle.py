"""What neural-tangents says, in float64, computed once per architecture and shape."""

import functools

import numpy as np

from paper_repro.core.architecture import from_name
from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

# Tolerances of the issue, fixed before any figure was looked at.
VALUE = {"float32": 2e-6, "float64": 1e-11}
GRADIENT = {"float32": 1e-5, "float64": 1e-9}
COINCIDENT = {"float32": 1e-4, "float64": 1e-7}

SMALL = [
    ("convnet", (8, 8, 3)),
    ("convnet", (9, 11, 1)),
    ("convnet3", (10, 8, 3)),
    ("conv-3", (5, 7, 3)),
    ("myrtle-5", (8, 8, 3)),
    ("myrtle-7", (7, 6, 1)),
    ("myrtle-10", (8, 8, 3)),
]


def images(n, shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


@functools.cache
def kernel(name, get):
    return NeuralTangentsKernel(from_name(name), "float64", get)


@functools.cache
def expected(name, shape, get):
    """(x1, x2, cotangent, k(x1, x2), k(x1, x1), gradient of the first)."""
    x1, x2 = images(3, shape), images(3, shape, seed=1)
    cotangent = np.random.default_rng(2).normal(size=(3, 3))
    oracle = kernel(name, get)
    return (
        x1,
        x2,
        cotangent,
        oracle.block(x1, x2),
        oracle.block(x1, x1),
        oracle.block_vjp(x1, x2, cotangent),
    )


def relative(found, wanted):
    """Largest relative error of entries."""
    return np.max(np.abs(np.asarray(found, float) / wanted - 1))


def norm_error(found, wanted):
    """Norm of the difference over the norm."""
    return np.linalg.norm(np.asarray(found, float) - wanted) / np.linalg.norm(wanted)
