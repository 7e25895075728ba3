"""Dataset Distillation (DD), and with learned labels (SLDD)."""

from paper_repro.core.methods.dataset_distillation.config import DistillationConfig
from paper_repro.core.methods.dataset_distillation.method import DD

__all__ = ["DD", "DistillationConfig"]
