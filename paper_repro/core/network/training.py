"""Training a finite network on a distilled set, as in section 4.2 of arXiv 2107.13034.

Several seeds are trained one after another: three at once under `vmap` took 1.3 times as long as
three in turn at width 64 and batch 10 on a CPU (`benchmark transfer --vmap 3 --batch 10`), and at
batch 100 one network fills the cores. On a GPU, `JAX_DEFAULT_MATMUL_PRECISION` in the
environment chooses between float32 (`highest`) and the tensor cores (`tensorfloat32`, JAX's
default there) for the same program; parameters and updates stay float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.prepared import Array
from paper_repro.core.network.compilation import compiled
from paper_repro.core.network.finite import Network, Parameters, squared_norm
from paper_repro.core.network.learning_rate import maximum_learning_rate
from paper_repro.core.network.losses import Loss, loss_value, require_loss
from paper_repro.core.network.settings import Optimizer
from paper_repro.core.network.support_augmentation import SupportAugmentation
from paper_repro.core.store import pytree
from paper_repro.core.store.checkpoint import Resume
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.row_schema import config_hash, without_later

CHUNK = 100
"""Steps per compiled call: the loss is looked at in between."""

CONVOLUTIONAL_CHUNK = 10
"""Steps between two looks with convolutions, one compiled call each: inside of a compiled loop
XLA's CPU backend takes the convolutions of a step 15 to 25 times as long."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters; defaults are those of the official transfer notebook.

    Attributes:
      steps: updates.
      batch: images per update, drawn without replacement; at most the whole support.
      learning_rate_factor: the learning rate as a fraction of the largest stable one.
      learning_rate: the learning rate itself, in place of that fraction; None takes the fraction.
      l2: penalty 0.5 * l2 * |theta|^2 over weights and biases.
      momentum: momentum of SGD.
      optimizer: `sgd`, or `adam`, whose step has no bound that the kernel gives, so that it needs
        a `learning_rate`.
      loss: `mse` on the labels as they are, or `xent` on their argmax.
      augmentation: random maps of the support images at every step, or None.
    """

    steps: int = 5_000
    batch: int = 100
    learning_rate_factor: float = 1.0
    l2: float = 1e-3
    momentum: float = 0.9
    loss: Loss = "mse"
    augmentation: SupportAugmentation | None = None
    optimizer: Optimizer = "sgd"
    learning_rate: float | None = None

    def __post_init__(self):
        require_loss(self.loss)
        if self.steps < 1 or self.batch < 1:
            raise UserError(
                f"training needs at least one step and one image a batch, got {self.steps} and "
                f"{self.batch}"
            )
        if self.optimizer not in get_args(Optimizer):
            known = ", ".join(get_args(Optimizer))
            raise UserError(f"unknown optimizer {self.optimizer!r}: choose one of {known}")
        if self.optimizer == "adam" and self.learning_rate is None:
            raise UserError("adam needs a learning_rate: no kernel bounds its steps")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the bits of a training, for its identity."""
        return without_later(dataclasses.asdict(self), optimizer="sgd", learning_rate=None)


class TrainingState(NamedTuple):
    """A pytree; everything that changes from step to step (batches depend on the step alone).

    Attributes:
      step: updates done.
      parameters: float32.
      optimizer: optax state: momentum and the position in the schedule.
      loss: the training loss of the last update, without the penalty.
    """

    step: int
    parameters: Parameters
    optimizer: Any
    loss: float


def _from_tensors(tensors: dict[str, np.ndarray], like: TrainingState) -> TrainingState:
    """The state that `to_tensors` wrote; `like` gives the structure.

    Raises:
      UserError: the arrays are not those of such a state.
    """
    state = pytree.from_tensors(tensors, like)
    return state._replace(step=int(state.step), loss=float(state.loss))


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


Progress = Callable[[int, float], None]
"""Called with (steps done, latest loss) after every compiled call."""


def train(
    network: Network,
    x_support: Array,
    y_support: Array,
    config: TrainingConfig,
    key: Array,
    x_calibration: Array | None = None,
    *,
    bound: float | None = None,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Minimise the loss plus the penalty by SGD with momentum, or Adam, with cosine decay.

    With a directory, the state is kept there every 20 s and at the end; the same
    call goes on from it and ends in the same bits as an uninterrupted one on the same machine. The
    directory of another call (other arrays, key, network or configuration) is refused.

    Args:
      network: the network to train.
      x_support: kernel inputs (n, H, W, C).
      y_support: centred or learned labels (n, n_classes).
      config: hyperparameters.
      key: decides the initialisation, the batches and the augmentation.
      x_calibration: images on which the maximum learning rate is estimated.
      bound: that maximum where it is known already (see `initial_bound`), in place of them.
      directory: a directory for the states of this training alone.
      progress: see `Progress`.

    Returns:
      The trained network; a training that diverges stops early with a loss of NaN.

    Raises:
      UserError: a learning rate that is a fraction, and neither `x_calibration` nor `bound` is
        given, or the directory is another call's.
    """
    x_support, y_support = (jnp.asarray(a, jnp.float32) for a in (x_support, y_support))
    init_key, batch_key = jax.random.split(key)
    parameters = network.init(init_key, x_support.shape[1:])
    peak = config.learning_rate
    if peak is None:
        if bound is None and x_calibration is None:
            raise UserError("give images as x_calibration, or the maximum learning rate as bound")
        if bound is None:
            bound = maximum_learning_rate(network, parameters, x_calibration)
        peak = config.learning_rate_factor * bound
    # What is compiled does not depend on these two: a grid over them compiles once.
    changes = {} if config.learning_rate is None else {"learning_rate": 1.0}
    shared = dataclasses.replace(config, learning_rate_factor=1.0, l2=0.0, **changes)
    updates = Updates(network, shared, peak, config.l2, x_support, y_support, batch_key)
    state = TrainingState(0, parameters, updates.optimizer.init(parameters), float("nan"))
    resume = None
    if directory is not None:
        identity = _identity(network, config, peak, key, x_support, y_support)
        resume = Resume(directory, identity)
    if resume is not None and resume.found is not None:
        state = _from_tensors(resume.found.tensors, state)
    chunk = CONVOLUTIONAL_CHUNK if network.is_convolutional else CHUNK
    # The loop ends at a loss that is not finite; a kept state may be one.
    while state.step < config.steps and (state.step == 0 or np.isfinite(state.loss)):
        numbers = range(state.step, min(state.step + chunk, config.steps))
        parameters, optimizer, loss = updates.run(state.parameters, state.optimizer, numbers)
        state = TrainingState(numbers.stop, parameters, optimizer, float(loss))
        if progress is not None:
            progress(state.step, state.loss)
        ended = state.step == config.steps or not np.isfinite(state.loss)
        if resume is not None and (ended or resume.is_due):
            resume.save(pytree.to_tensors(state))
    loss = state.loss if np.isfinite(state.loss) else float("nan")
    return Trained(state.parameters, loss, peak)


def _identity(network, config, peak, key, x_support, y_support) -> str:
    """A digest of what decides the bits of a training."""
    arrays = (jax.random.key_data(key), x_support, y_support)
    return config_hash(
        {
            "network": repr(network),
            "config": config.settings,
            "peak": float(peak),
            "arrays": [sha256_of_array(np.asarray(a)) for a in arrays],
        }
    )


def initial_bound(
    network: Network, image_shape: tuple[int, int, int], key: Array, x_calibration: Array
) -> float:
    """The maximum learning rate at the parameters with which `train` starts from this key."""
    parameters = network.init(jax.random.split(key)[0], image_shape)
    return maximum_learning_rate(network, parameters, x_calibration)


def outputs(network: Network, parameters: Parameters, x: Array, block: int = 1_000) -> np.ndarray:
    """Network outputs (n, n_classes) on the host, block by block."""
    return np.concatenate(
        [np.asarray(_apply(network, parameters, x[i : i + block])) for i in range(0, len(x), block)]
    )


@partial(compiled, static_argnums=0)
def _apply(network: Network, parameters: Parameters, x: Array) -> Array:
    return network.apply(parameters, x)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("peak", "l2", "x_support", "y_support", "key"),
    meta_fields=("network", "config"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Updates:
    """The updates of a training; a pytree, so that a program compiled for one does for others.

    Attributes:
      network, config: what the program depends on.
      peak: the learning rate at the start of the cosine.
      l2: the penalty, in place of the configuration's.
      x_support: kernel inputs, float32 (n, H, W, C).
      y_support: labels, float32 (n, n_classes).
      key: decides the batches and the augmentation.
    """

    network: Network
    config: TrainingConfig
    peak: float | Array
    l2: float | Array
    x_support: Array
    y_support: Array
    key: Array

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """SGD or Adam, with the cosine."""
        schedule = optax.cosine_decay_schedule(self.peak, self.config.steps)
        if self.config.optimizer == "adam":
            return optax.adam(schedule)
        return optax.sgd(schedule, momentum=self.config.momentum)

    def run(self, parameters: Parameters, optimizer: Any, numbers: range) -> tuple:
        """Several updates: parameters, optimizer state and the last loss."""
        if not self.network.is_convolutional:
            steps = jnp.arange(numbers.start, numbers.stop)
            parameters, optimizer, losses = _scan(self, parameters, optimizer, steps)
            return parameters, optimizer, losses[-1]
        for number in numbers:
            parameters, optimizer, loss = _single(self, parameters, optimizer, number)
        return parameters, optimizer, loss

    def update(self, parameters: Parameters, optimizer: Any, number: Array) -> tuple:
        """Update `number`, whose batch and augmentation depend on the number alone."""
        config = self.config

        def loss_fn(parameters, x, y):
            loss = loss_value(config.loss, self.network.apply(parameters, x), y)
            return loss + 0.5 * self.l2 * squared_norm(parameters), loss

        rows = jnp.arange(len(self.x_support))
        step_key = jax.random.fold_in(self.key, number)
        if config.batch < len(rows):
            rows = jax.random.choice(step_key, len(rows), (config.batch,), replace=False)
        images = self.x_support[rows]
        if config.augmentation is not None:
            images = config.augmentation.apply(images, jax.random.fold_in(step_key, 1))
        gradient = jax.grad(loss_fn, has_aux=True)
        gradients, loss = gradient(parameters, images, self.y_support[rows])
        updates, optimizer = self.optimizer.update(gradients, optimizer)
        return optax.apply_updates(parameters, updates), optimizer, loss


@partial(jax.jit, donate_argnums=(1, 2))
def _scan(updates: Updates, parameters: Parameters, optimizer: Any, numbers: Array) -> tuple:
    """Several updates in one compiled call, and all losses."""

    def step(carry, number):
        parameters, optimizer, loss = updates.update(*carry, number)
        return (parameters, optimizer), loss

    (parameters, optimizer), losses = jax.lax.scan(step, (parameters, optimizer), numbers)
    return parameters, optimizer, losses


@partial(compiled, donate_argnums=(1, 2))
def _single(updates: Updates, parameters: Parameters, optimizer: Any, number: int) -> tuple:
    """One update in one compiled call."""
    return updates.update(parameters, optimizer, number)
