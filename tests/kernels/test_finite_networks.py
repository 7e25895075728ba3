"""Monte Carlo: wide random networks, of every activation, approach the kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.activations import ACTIVATIONS
from paper_repro.core.kernels.architecture import convnet
from paper_repro.core.network.finite import Network

WIDTH, NETWORKS, SHAPE = 192, 24, (6, 5, 2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_wide_networks_approach_the_kernels(name):
    activation = ACTIVATIONS[name]()
    architecture = convnet(1, activation=activation)
    network = Network(architecture, WIDTH, 1, "ntk")
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")

    @jax.jit
    def one(key):
        parameters = network.init(key, SHAPE)
        jacobian = jax.jacobian(lambda p: network.apply(p, jnp.asarray(x))[:, 0])(parameters)
        ntk, nngp = (
            sum(leaf.reshape(3, -1) @ leaf.reshape(3, -1).T for leaf in jax.tree.leaves(layers))
            for layers in (jacobian, jacobian[-1])
        )
        # The last layer's gradient is its input: the NNGP kernel, without sampling outputs.
        return ntk, nngp

    samples = [one(key) for key in jax.random.split(jax.random.key(0), NETWORKS)]
    for which, get in enumerate(("ntk", "nngp")):
        found = np.stack([sample[which] for sample in samples])
        wanted = network_kernel(architecture, dtype="float64", get=get)(x)
        error = found.mean(0) - wanted
        spread = found.std(0) / np.sqrt(NETWORKS)
        # Entries of an odd activation may be near zero, so the scale is that of the diagonal.
        scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
        assert np.abs(error / scale).max() < 0.03
        assert (np.abs(error) < 4 * spread + 0.01 * scale).all()
