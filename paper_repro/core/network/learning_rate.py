"""The largest stable learning rate of full-batch gradient descent, from the empirical NTK."""

from __future__ import annotations

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from paper_repro.core.kernels.kernel import Array
from paper_repro.core.network.finite import Network, Parameters

JACOBIAN_BYTES = 512 * 2**20
"""Of an explicit Jacobian, N gradients one after another: one pass over the images in place of N.
Larger ones are never held: see `empirical_ntk`."""


def maximum_learning_rate(network: Network, parameters: Parameters, x: Array) -> float:
    """2 N K / lambda_max(Theta), as the official transfer notebook estimates it.

    Theta is the empirical NTK on N images of the scalar g = sum_k f_k / sqrt(K), which stands
    for the K x K blocks of the full one as their average; the loss is 0.5 * mean over images
    and classes. Gradient descent on the linearised network is stable below it; momentum is not
    accounted for.

    Args:
      network: with K outputs.
      parameters: at which Theta is taken.
      x: kernel inputs (N, H, W, C); the notebook takes 50 validation images.
    """
    theta = np.asarray(empirical_ntk(network, parameters, jnp.asarray(x)), np.float64)
    return 2 * len(theta) * network.n_classes / float(np.linalg.eigvalsh(theta)[-1])


@partial(jax.jit, static_argnums=0)
def empirical_ntk(network: Network, parameters: Parameters, x: Array) -> Array:
    """Theta (N, N) = J J^T for J the gradient of g at each image.

    From J itself where it fits into `JACOBIAN_BYTES`, else column by column, J (J^T e_i), so
    that memory stays at a few copies of the parameters whatever the width.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    by_rows = 4 * len(x) * size <= JACOBIAN_BYTES
    return (_from_rows if by_rows else _by_columns)(network, parameters, x)


def _from_rows(network: Network, parameters: Parameters, x: Array) -> Array:
    def gradient(image):
        g = jax.grad(lambda p: network.apply(p, image[None]).sum() / network.n_classes**0.5)
        return jax.flatten_util.ravel_pytree(g(parameters))[0]

    jacobian = jax.lax.map(gradient, x)
    return jnp.matmul(jacobian, jacobian.T, precision="highest")


def _by_columns(network: Network, parameters: Parameters, x: Array) -> Array:
    def g(parameters):
        return network.apply(parameters, x).sum(1) / network.n_classes**0.5

    _, pullback = jax.vjp(g, parameters)

    def column(unit):
        return jax.jvp(g, (parameters,), pullback(unit))[1]

    return jax.lax.map(column, jnp.eye(len(x)))
