"""The resumable state of a training run, and its form on disk."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.network.finite import Parameters


class TrainingState(NamedTuple):
    """A pytree; everything that changes from step to step (batches depend on the step alone).

    Attributes:
      step: updates done.
      parameters: float32.
      optimizer: optax state: momentum and the position in the schedule.
      loss: of the last update, without the penalty.
    """

    step: int
    parameters: Parameters
    optimizer: Any
    loss: float


def to_tensors(state: TrainingState) -> dict[str, np.ndarray]:
    """The state as named host arrays, for `paper_repro.core.checkpoint`."""
    leaves, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def from_tensors(tensors: dict[str, np.ndarray], like: TrainingState) -> TrainingState:
    """The state that `to_tensors` wrote; `like` gives the structure.

    Raises:
      UserError: the arrays are not those of such a state.
    """
    leaves, structure = jax.tree.flatten_with_path(like)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if sorted(names) != sorted(tensors) or any(
        tensors[name].shape != np.shape(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)
    ):
        raise UserError("the state is that of another network: choose another --out")
    state = jax.tree.unflatten(structure, [jnp.asarray(tensors[name]) for name in names])
    return state._replace(step=int(state.step), loss=float(state.loss))
