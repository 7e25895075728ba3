"""Dataset Condensation by gradient matching (DC) and its siamese augmentation (DSA)."""

from paper_repro.core.methods.gradient_matching.config import MatchingConfig
from paper_repro.core.methods.gradient_matching.method import DC

__all__ = ["DC", "MatchingConfig"]
