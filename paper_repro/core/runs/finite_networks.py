"""What finite networks trained on a support set may spend, and the settings they are tried with."""

from __future__ import annotations

import dataclasses
from typing import Any

from paper_repro.core.runs.learned_sets import settings
from paper_repro.core.runs.presets import SMOKE, Preset

_PAPER = Preset("paper", steps=0, target_batch=0, seeds=3, network_width=1024, network_steps=5_000)
FINITE = {
    "smoke": dataclasses.replace(SMOKE, network_width=8, network_steps=4, n_validation=100),
    "laptop": dataclasses.replace(
        _PAPER, name="laptop", seeds=1, network_width=64, network_steps=500, n_validation=1_000
    ),
    "gpu": dataclasses.replace(_PAPER, name="gpu"),
    "paper": _PAPER,
}
"""Presets of Table 2 and of Figures 3 and 4, by name."""

# The supports are fitted within 100 steps, and accuracy on validation hardly depends on where on
# the ridge of learning rate and scale: CIFAR-10, ten KIP images, width 32 and 64, 300 to 2,000
# steps: 28 to 31 % at factor 0.5 with scale 1, 0.1 with 4 and 0.01 with 16; above it trainings
# collapse or diverge.
GRIDS = {
    "smoke": {"learning_rate_factor": (0.1, 0.3), "l2": (1e-3,), "label_scale": (8.0,)},
    "laptop": {"learning_rate_factor": (0.1, 0.5), "l2": (1e-3,), "label_scale": (1.0, 4.0)},
}
_FULL_GRID = {
    "learning_rate_factor": (0.03, 0.1, 0.3, 1.0),
    "l2": (1e-4, 1e-3),
    "label_scale": (1.0, 4.0, 16.0),
}

AUGMENTED_SUPPORTS = {"shift": 3, "flip": True}
"""Fields of a `SupportAugmentation`; ours, as the paper's are not published."""


def network_of(budget: Preset) -> dict[str, Any]:
    """Settings of the finite networks at a preset."""
    grid = GRIDS.get(budget.name, _FULL_GRID)
    return settings(budget, grid, n_validation=budget.n_validation, stability="both")
