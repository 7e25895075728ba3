"""Monte Carlo: wide random networks approach the kernels."""

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.architecture import AvgPool, Conv, Dense, Flatten, ReLU, convnet
from paper_repro.core.kernels import network_kernel

WIDTH, NETWORKS, SHAPE = 192, 24, (6, 5, 2)


def _parameters(architecture, key):
    shape, parameters = SHAPE, []
    for layer in architecture.layers:
        key, w_key, b_key = jax.random.split(key, 3)
        if isinstance(layer, Conv):
            size = (3, 3, shape[2], WIDTH)
            shape = (*shape[:2], WIDTH)
        elif isinstance(layer, Dense):
            size = (shape[0], 1)
        else:
            if isinstance(layer, AvgPool):
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            elif isinstance(layer, Flatten):
                shape = (int(np.prod(shape)),)
            continue
        parameters.append((jax.random.normal(w_key, size), jax.random.normal(b_key, size[-1:])))
    return parameters


def _apply(architecture, parameters, x):
    remaining = iter(parameters)
    for layer in architecture.layers:
        if isinstance(layer, Conv | Dense):
            w, b = next(remaining)
            w = w * architecture.w_std / np.sqrt(np.prod(w.shape[:-1]))
            if isinstance(layer, Conv):
                dimensions = ("NHWC", "HWIO", "NHWC")
                x = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=dimensions)
            else:
                x = x @ w
            x = x + architecture.b_std * b
        elif isinstance(layer, ReLU):
            x = jax.nn.relu(x)
        elif isinstance(layer, AvgPool):
            h, w = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * h, : 2 * w].reshape(len(x), h, 2, w, 2, -1).mean((2, 4))
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
    return x[:, 0]


def test_wide_networks_approach_the_kernels():
    architecture = convnet(1)
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")

    @jax.jit
    def one(key):
        parameters = _parameters(architecture, key)
        jacobian = jax.jacobian(lambda p: _apply(architecture, p, jnp.asarray(x)))(parameters)
        leaves = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)]
        ntk = sum(leaf @ leaf.T for leaf in leaves)
        # The last layer's gradient is its input: the NNGP kernel, without sampling outputs.
        return ntk, sum(leaf @ leaf.T for leaf in jax.tree.leaves(leaves[-2:]))

    samples = [one(key) for key in jax.random.split(jax.random.key(0), NETWORKS)]
    for which, get in enumerate(("ntk", "nngp")):
        found = np.stack([sample[which] for sample in samples])
        wanted = network_kernel(architecture, backend="numba", dtype="float64", get=get)(x)
        error = found.mean(0) - wanted
        spread = found.std(0) / np.sqrt(NETWORKS)
        assert np.abs(error / wanted).max() < 0.03
        assert (np.abs(error) < 4 * spread + 0.01 * np.abs(wanted)).all()
