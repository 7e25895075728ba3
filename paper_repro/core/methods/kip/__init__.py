"""Kernel Inducing Points (arXiv 2011.00050, Algorithm 1; arXiv 2107.13034, section 2)."""

from paper_repro.core.methods.kip.config import KIPConfig, official_steps
from paper_repro.core.methods.kip.run import KIPResult, run
from paper_repro.core.methods.problem import Problem

__all__ = ["KIPConfig", "KIPResult", "Problem", "official_steps", "run"]
