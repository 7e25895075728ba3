"""Finite networks: those of the paper in JAX here, those of the other methods in `pytorch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_repro.core import lazy

if TYPE_CHECKING:
    from paper_repro.core.network.finite import Network as Network
    from paper_repro.core.network.learning_rate import (
        maximum_learning_rate as maximum_learning_rate,
    )
    from paper_repro.core.network.training import TrainingConfig as TrainingConfig
    from paper_repro.core.network.training import train as train

_PLACES = {
    "Network": "paper_repro.core.network.finite",
    "TrainingConfig": "paper_repro.core.network.training",
    "maximum_learning_rate": "paper_repro.core.network.learning_rate",
    "train": "paper_repro.core.network.training",
}
__getattr__, __dir__, __all__ = lazy.exports(__name__, _PLACES)
