"""How to train a finite network on a released set: what the card prints and `load` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECOMMENDED: dict[str, Any] = {
    "network": "ConvNet, width 1,024, standard parameterisation, W_std sqrt(2), b_std 0.1",
    "loss": "mean squared error on the soft labels (centred, as shipped)",
    "optimizer": "SGD",
    "momentum": 0.9,
    "learning_rate": "factor x 2 N K / lambda_max(Theta)",
    "learning_rate_factor": 1.0,
    "schedule": "cosine decay to 0",
    "l2": 1e-3,
    "batch": 100,
    "steps": 5_000,
    "augmentation": "none",
}
"""Of the official transfer notebook of arXiv 2107.13034. Theta is the empirical NTK of
sum_k f_k / sqrt(K) on N = 50 validation images at initialisation; l2 is the factor of
0.5 * |theta|^2."""


def recommended(record: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters for one set: those of its own transfer run where its record has one.

    Args:
      record: of a set; `finite_network`, where it is present, holds the values that were chosen
        on the validation images.
    """
    chosen = record.get("finite_network")
    return {**RECOMMENDED, **(chosen if isinstance(chosen, Mapping) else {})}
