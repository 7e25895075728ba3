"""The resumable state of a training run, and its form on disk."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from paper_repro.core.network.finite import Parameters
from paper_repro.core.store import pytree


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


def from_tensors(tensors: dict[str, np.ndarray], like: TrainingState) -> TrainingState:
    """The state that `to_tensors` wrote; `like` gives the structure.

    Raises:
      UserError: the arrays are not those of such a state.
    """
    state = pytree.from_tensors(tensors, like)
    return state._replace(step=int(state.step), loss=float(state.loss))
