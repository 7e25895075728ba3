"""Label Distillation (LD): natural images whose soft labels are learned."""

from paper_repro.core.methods.label_distillation.config import LabelDistillationConfig
from paper_repro.core.methods.label_distillation.method import LD

__all__ = ["LD", "LabelDistillationConfig"]
