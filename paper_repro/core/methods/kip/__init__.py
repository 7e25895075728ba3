"""Kernel Inducing Points (arXiv 2011.00050, Algorithm 1; arXiv 2107.13034, section 2)."""

from paper_repro.core.methods.kip.config import KIPConfig, official_steps
from paper_repro.core.methods.kip.log import METRICS, support_path
from paper_repro.core.methods.kip.method import KIP

__all__ = ["KIP", "METRICS", "KIPConfig", "official_steps", "support_path"]
