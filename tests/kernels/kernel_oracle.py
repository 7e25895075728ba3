"""What neural-tangents says, in float64, computed once per network and shape."""

import functools

import jax
import numpy as np

from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel, stax_kernel_fn

# Tolerances of the issue, fixed before any figure was looked at.
VALUE = {"float32": 2e-6, "float64": 1e-11}
GRADIENT = {"float32": 1e-5, "float64": 1e-9}
COINCIDENT = {"float32": 1e-4, "float64": 1e-7}

GETS = ("ntk", "nngp")


def images(n, shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


@functools.cache
def kernel(name, get):
    return NeuralTangentsKernel(from_name(name), "float64", get)


@functools.cache
def expected(name, shape):
    """x1, x2, cotangent, and by `ntk` and `nngp`: k(x1, x2), k(x1, x1), gradient of the first.

    One compiled function has both kernels and their gradients.
    """
    x1, x2 = images(3, shape), images(3, shape, seed=1)
    cotangent = np.random.default_rng(2).normal(size=(3, 3))
    kernel_fn = stax_kernel_fn(from_name(name))

    def both(x1, x2, cotangents):
        k, pull = jax.vjp(lambda x: tuple(kernel_fn(x, x2, GETS)), x1)
        return k, pull(cotangents)[0]

    # At a higher level some gradients crash; see `NeuralTangentsKernel`.
    options = {"xla_backend_optimization_level": 1}
    found = {}
    with jax.enable_x64(True):
        compiled = jax.jit(both, compiler_options=options)
        for which, get in enumerate(GETS):
            seeds = [cotangent if i == which else 0 * cotangent for i in range(2)]
            cross, gradient = compiled(x1, x2, tuple(seeds))
            same, _ = compiled(x1, x1, tuple(seeds))
            found[get] = tuple(np.asarray(a) for a in (cross[which], same[which], gradient))
    return x1, x2, cotangent, found


def relative(found, wanted):
    """Largest relative error of entries."""
    return np.max(np.abs(np.asarray(found, float) / wanted - 1))


def norm_error(found, wanted):
    """Norm of the difference over the norm."""
    return np.linalg.norm(np.asarray(found, float) - wanted) / np.linalg.norm(wanted)
