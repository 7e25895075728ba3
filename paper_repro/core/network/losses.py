"""What a finite network minimises, and what its outputs say about the labels."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.prepared import Array

Loss = Literal["mse", "xent"]
LOSSES: tuple[Loss, ...] = ("mse", "xent")


def require_loss(name: str) -> None:
    """Raises a `UserError` for a name that is not in `LOSSES`."""
    if name not in LOSSES:
        raise UserError(f"unknown loss {name!r}: choose one of {', '.join(LOSSES)}")


def loss_value(name: Loss, f: Array, y: Array) -> Array:
    """The mean loss of outputs f (n, K) on labels y (n, K), centred one-hot or learned.

    `mse` is 0.5 * mean over images and classes of (f - y)^2; `xent` is the mean over images of
    -log softmax(f) at the argmax of y, so that it sees only which class a learned label prefers.
    """
    if name == "mse":
        return 0.5 * jnp.mean((f - y) ** 2)
    chosen = jnp.argmax(y, 1)[:, None]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f, 1), chosen, 1))


def centred_prediction(name: Loss, f: Array, label_scale: float) -> Array:
    """Predicted centred labels (n, K): f / label_scale, or softmax(f) - 1/K after `xent`."""
    if name == "mse":
        return f / label_scale
    return jax.nn.softmax(f, 1) - 1 / f.shape[1]
