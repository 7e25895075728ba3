"""The learned side of a KIP run: support, labels, kernel parameters, optimiser; and one step."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from paper_repro.core.errors import Diverged
from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.kernels.prepared import Array, Prepared
from paper_repro.core.krr import Unsolvable, loss_and_gradient
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.machine.device import platform, platform_or_cpu
from paper_repro.core.methods.kip.config import KIPConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store import pytree


class State(NamedTuple):
    """A pytree; everything that changes from step to step.

    Attributes:
      step: updates done.
      x_support: float32 (n_support, H, W, C).
      y_support: float32 (n_support, n_classes).
      log_parameters: logarithms of the kernel's learnable parameters, float32 scalars by name.
      optimizer: optax state over the three above.
    """

    step: int
    x_support: Array
    y_support: Array
    log_parameters: dict[str, Array]
    optimizer: Any


def initial_state(problem: Problem, kernel: Kernel, config: KIPConfig, seed: int) -> State:
    """Supports drawn from the targets (or noise of the same scale) with centred labels.

    Supports are ordered by class. Noise is Gaussian with the root mean square of the images
    that a natural start would have used, so both starts have the same scale.

    Raises:
      UserError: JAX was told to use a device that is not here, and the kernel needs it.
    """
    (platform if kernel.needs_device else platform_or_cpu)()
    rng = generator(seed, Purpose.SUPPORT)
    sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
    rows = sampler.draw_per_class(config.images_per_class, rng)
    x = problem.transform.apply(problem.x_target[rows], np.float64)
    if config.initial == "noise":
        x = rng.standard_normal(x.shape) * np.sqrt(np.mean(x**2))
    y = centred_one_hot(problem.labels[rows], problem.n_classes)
    learned = (
        jnp.asarray(x, jnp.float32),
        jnp.asarray(y, jnp.float32),
        {name: jnp.float32(np.log(value)) for name, value in kernel.parameters.items()},
    )
    return State(0, *learned, _adam(*_schedule(config)).init(learned))


def kernel_at(kernel: Kernel, state: State) -> Kernel:
    """The kernel with the state's learned parameters."""
    if not state.log_parameters:
        return kernel
    return kernel.with_parameters(
        {name: float(np.exp(value)) for name, value in state.log_parameters.items()}
    )


def advance(
    kernel: Kernel,
    state: State,
    targets: Prepared,
    y_target: np.ndarray,
    config: KIPConfig,
    rows: np.ndarray | None = None,
) -> tuple[State, float]:
    """One update from one batch of targets.

    The KRR adjoint (float64, host) turns the loss into cotangents of k_ss and k_st; the kernel
    pulls them back to the support images block by block. k_ss is symmetric, so its cotangent
    counts twice with the second argument held constant.

    Args:
      kernel: the kernel; the state's learned parameters replace those it was made with.
      state: before the update.
      targets: prepared images of the batch.
      y_target: their centred labels, float64 (n_target, n_classes).
      config: KIP settings.
      rows: numbers of the supports that take part in this step; None for all.

    Returns:
      The state after the update and the loss before it.

    Raises:
      Diverged: the loss is not finite, or the support kernel not positive definite.
    """
    kernel = kernel_at(kernel, state)
    x, y = state.x_support, state.y_support
    if rows is not None:
        x, y = x[rows], y[rows]
    k_ss, pull_ss = kernel.with_pullback(x, x)
    k_st, pull_st = kernel.with_pullback(x, targets)
    try:
        gradient = loss_and_gradient(np.asarray(k_st).T, k_ss, y_target, y, config.diag_reg)
    except Unsolvable as error:
        raise Diverged(f"step {state.step}: {error}") from error
    if not np.isfinite(gradient.loss):
        raise Diverged(f"step {state.step}: the loss is {gradient.loss}")
    dx = _add(pull_ss(2 * gradient.k_ss), pull_st(gradient.k_ts.T))
    dy = gradient.y_s if config.learn_labels else np.zeros_like(gradient.y_s)
    d_log = {}
    if kernel.parameters:
        through_ss = kernel.parameter_vjp(x, x, gradient.k_ss)
        through_st = kernel.parameter_vjp(x, targets, gradient.k_ts.T)
        d_log = {
            name: np.float32((through_ss[name] + through_st[name]) * value)
            for name, value in kernel.parameters.items()
        }
    dy = np.asarray(dy, np.float32)
    drawn = None
    if rows is not None:
        dx = jnp.zeros_like(state.x_support).at[rows].set(dx)
        dy = jnp.zeros_like(state.y_support).at[rows].set(dy)
        drawn = np.isin(np.arange(len(state.x_support)), rows)
    gradients = (dx, dy, d_log)
    learned, optimizer = _update(
        _schedule(config), gradients, state.optimizer, tuple(state[1:4]), drawn
    )
    return State(state.step + 1, *learned, optimizer), gradient.loss


def from_tensors(tensors: dict[str, np.ndarray], like: State) -> State:
    """The state that `to_tensors` wrote; `like` gives the structure.

    Raises:
      UserError: the arrays are not those of such a state.
    """
    state = pytree.from_tensors(tensors, like)
    return state._replace(step=int(state.step))


def _schedule(config: KIPConfig) -> tuple[float, tuple[int, ...]]:
    """The learning rate, and the steps of each of its falls to 0; none for a constant one."""
    return config.learning_rate, config.cycles


def _adam(learning_rate: float, cycles: tuple[int, ...]) -> optax.GradientTransformation:
    if not cycles:
        return optax.adam(learning_rate)
    falls = [optax.cosine_decay_schedule(learning_rate, max(steps, 1)) for steps in cycles]
    if len(falls) == 1:
        return optax.adam(falls[0])
    return optax.adam(optax.join_schedules(falls, np.cumsum(cycles[:-1]).tolist()))


@partial(jax.jit, static_argnums=0)
def _update(schedule, gradients, optimizer, learned, drawn):
    """Adam on all supports, or on those that `drawn` marks; the moments of the others stay too."""
    adam = _adam(*schedule)
    updates, moved = adam.update(gradients, optimizer, learned)
    updated = optax.apply_updates(learned, updates)
    if drawn is None:
        return updated, moved
    x, y, log_parameters = learned
    masks = (
        drawn.reshape(-1, *(1,) * (x.ndim - 1)),
        drawn.reshape(-1, *(1,) * (y.ndim - 1)),
        jax.tree.map(lambda _: True, log_parameters),
    )

    of_state = optax.tree.map_params(
        adam, lambda _, mask: mask, moved, masks, transform_non_params=lambda _: True
    )

    def kept(new, old, mask):
        return jnp.where(mask, new, old)

    return jax.tree.map(kept, updated, learned, masks), jax.tree.map(
        kept, moved, optimizer, of_state
    )


@jax.jit
def _add(a, b):
    return jnp.asarray(a, jnp.float32) + jnp.asarray(b, jnp.float32)
