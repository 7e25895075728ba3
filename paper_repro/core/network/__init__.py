"""Finite networks from an architecture description: initialisation, training, evaluation."""

from paper_repro.core.network.finite import Network
from paper_repro.core.network.learning_rate import maximum_learning_rate
from paper_repro.core.network.training import TrainingConfig, train

__all__ = ["Network", "TrainingConfig", "maximum_learning_rate", "train"]
