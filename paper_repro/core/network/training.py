"""Training a finite network on a distilled set, as in section 4.2 of arXiv 2107.13034."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from paper_repro.core.kernels.kernel import Array
from paper_repro.core.network.finite import Network, Parameters, squared_norm
from paper_repro.core.network.learning_rate import maximum_learning_rate

CHUNK = 100
"""Steps per compiled call: the loss is looked at in between."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters; defaults are those of the official transfer notebook.

    Attributes:
      steps: updates.
      batch: images per update, drawn without replacement; at most the whole support.
      learning_rate_factor: of the maximum stable learning rate.
      l2: penalty 0.5 * l2 * |theta|^2 over weights and biases.
      momentum: of SGD.
    """

    steps: int = 5_000
    batch: int = 100
    learning_rate_factor: float = 1.0
    l2: float = 1e-3
    momentum: float = 0.9


class Trained(NamedTuple):
    """A trained network.

    Attributes:
      parameters: after the last step.
      loss: the last training loss, without the penalty; NaN if training diverged.
      learning_rate: the peak of the cosine schedule.
    """

    parameters: Parameters
    loss: float
    learning_rate: float


def train(
    network: Network,
    x_support: Array,
    y_support: Array,
    config: TrainingConfig,
    key: Array,
    x_calibration: Array,
) -> Trained:
    """Minimise 0.5 mean (f(x_s) - y_s)^2 by SGD with momentum and cosine decay.

    Args:
      network: to train.
      x_support: kernel inputs (n, H, W, C).
      y_support: centred or learned labels (n, n_classes).
      config: hyperparameters.
      key: for the initialisation and the batches.
      x_calibration: images on which the maximum learning rate is estimated.

    Returns:
      The trained network; a training that diverges stops early with a loss of NaN.
    """
    x_support, y_support = (jnp.asarray(a, jnp.float32) for a in (x_support, y_support))
    init_key, batch_key = jax.random.split(key)
    parameters = network.init(init_key, x_support.shape[1:])
    peak = config.learning_rate_factor * maximum_learning_rate(network, parameters, x_calibration)
    optimizer = _sgd(config, jnp.float32(peak)).init(parameters)
    loss = float("nan")
    for start in range(0, config.steps, CHUNK):
        steps = jnp.arange(start, min(start + CHUNK, config.steps))
        parameters, optimizer, losses = _advance(
            network, config, peak, parameters, optimizer, x_support, y_support, batch_key, steps
        )
        loss = float(losses[-1])
        if not np.isfinite(loss):
            loss = float("nan")
            break
    return Trained(parameters, loss, peak)


def outputs(network: Network, parameters: Parameters, x: Array, block: int = 1_000) -> np.ndarray:
    """Network outputs (n, n_classes) on the host, block by block."""
    apply = jax.jit(network.apply)
    return np.concatenate(
        [np.asarray(apply(parameters, x[i : i + block])) for i in range(0, len(x), block)]
    )


def _sgd(config: TrainingConfig, peak: Array) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(peak, config.steps)
    return optax.sgd(schedule, momentum=config.momentum)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3, 4))
def _advance(network, config, peak, parameters, optimizer, x, y, key, steps):
    def loss_fn(parameters, rows):
        loss = 0.5 * jnp.mean((network.apply(parameters, x[rows]) - y[rows]) ** 2)
        return loss + 0.5 * config.l2 * squared_norm(parameters), loss

    def step(carry, number):
        parameters, optimizer = carry
        rows = jnp.arange(len(x))
        if config.batch < len(x):
            step_key = jax.random.fold_in(key, number)
            rows = jax.random.choice(step_key, len(x), (config.batch,), replace=False)
        gradients, loss = jax.grad(loss_fn, has_aux=True)(parameters, rows)
        updates, optimizer = _sgd(config, peak).update(gradients, optimizer)
        return (optax.apply_updates(parameters, updates), optimizer), loss

    (parameters, optimizer), losses = jax.lax.scan(step, (parameters, optimizer), steps)
    return parameters, optimizer, losses
