"""The largest stable learning rate of full-batch gradient descent, from the empirical NTK."""

from __future__ import annotations

from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from paper_repro.core.kernels.prepared import Array
from paper_repro.core.network.compilation import compiled
from paper_repro.core.network.finite import Network, Parameters

JACOBIAN_BYTES = 512 * 2**20
"""An explicit Jacobian up to this size takes one pass over the images in place of N."""


def maximum_learning_rate(network: Network, parameters: Parameters, x: Array) -> float:
    """2 N K / lambda_max(Theta), as the official transfer notebook estimates it.

    Theta is the empirical NTK on N images of the scalar g = sum_k f_k / sqrt(K), which stands
    for the K x K blocks of the full one as their average; the loss is 0.5 * mean over images
    and classes. Gradient descent on the linearised network is stable below it; momentum is not
    accounted for.

    Args:
      network: a network with K outputs.
      parameters: the parameters at which Theta is taken.
      x: kernel inputs (N, H, W, C); the notebook takes 50 validation images.
    """
    leaves = jax.tree.leaves(parameters)
    n_parameters = sum(leaf.size for leaf in leaves)
    if 4 * len(x) * n_parameters <= JACOBIAN_BYTES:
        jacobian = np.empty((len(x), n_parameters), leaves[0].dtype)
        for i in range(len(x)):
            jacobian[i] = _gradient(network, parameters, x[i : i + 1])
        theta = jacobian @ jacobian.T
    else:
        theta = np.asarray(_compiled_ntk(network, parameters, jnp.asarray(x)))
    largest = float(np.linalg.eigvalsh(theta.astype(np.float64))[-1])
    return 2 * len(theta) * network.n_classes / largest


@partial(compiled, static_argnums=0)
def _gradient(network: Network, parameters: Parameters, x: Array) -> Array:
    """Of g at one image (1, H, W, C), flat."""

    def g(parameters):
        return network.apply(parameters, x).sum() / network.n_classes**0.5

    return jax.flatten_util.ravel_pytree(jax.grad(g)(parameters))[0]


def empirical_ntk(network: Network, parameters: Parameters, x: Array) -> Array:
    """Theta (N, N) = J J^T for J the gradient of g at each image.

    Column by column, J (J^T e_i), so that memory stays at a few copies of the parameters
    whatever the width.
    """

    def g(parameters):
        return network.apply(parameters, x).sum(1) / network.n_classes**0.5

    _, pullback = jax.vjp(g, parameters)

    def column(unit):
        return jax.jvp(g, (parameters,), pullback(unit))[1]

    return jax.lax.map(column, jnp.eye(len(x)))


_compiled_ntk = compiled(empirical_ntk, static_argnums=0)
