"""Coresets: training images chosen by rules, scored by networks as DC does."""

from paper_repro.core.methods.coresets.config import CoresetConfig, DrawnConfig, SelectedConfig
from paper_repro.core.methods.coresets.method import RandomCoreset, SelectedCoreset

__all__ = ["CoresetConfig", "DrawnConfig", "RandomCoreset", "SelectedConfig", "SelectedCoreset"]
