"""The verdict of one table cell: ours against the published figure."""

from __future__ import annotations

import math
from enum import StrEnum

TOLERANCE_POINTS = 1.0


class Verdict(StrEnum):
    """The fixed verdicts; `not_run` makes the one that carries a reason."""

    MATCHES = "matches"
    LOWER_REDUCED = "lower under reduced budget"
    LOWER_FULL = "lower at the paper's budget"
    HIGHER = "higher"
    PUBLISHED_ONLY = "published figure only"
    UNPUBLISHED = "no published figure"
    SMOKE = "smoke test, not to be compared"


def verdict(
    ours_mean: float,
    ours_ci: float | None,
    paper: float,
    paper_pm: float | None,
    reduced_budget: bool,
) -> Verdict:
    """Compare two accuracies in percent.

    They match when they differ by no more than the larger of 1 point and the joint 95 % interval,
    `sqrt(ours_ci^2 + paper_pm^2)`. The sources do not say what their plus-minus is; it is taken
    as a 95 % half width, the reading that claims least. What is None counts as 0.

    Args:
      ours_mean: our mean.
      ours_ci: half width of our 95 % interval in points, None for one run.
      paper: the published mean.
      paper_pm: the published plus-minus in points.
      reduced_budget: whether ours spent less than the paper; only says how a lower one is called.

    Raises:
      ValueError: a number is NaN.
    """
    difference = ours_mean - paper
    joint = math.hypot(ours_ci or 0.0, paper_pm or 0.0)
    if math.isnan(difference + joint):
        raise ValueError("a verdict needs numbers, not NaN")
    # Accuracies have few digits: what is 1.0 in decimal must not fail by a rounding error.
    if abs(difference) <= max(TOLERANCE_POINTS, joint) + 1e-9:
        return Verdict.MATCHES
    if difference > 0:
        return Verdict.HIGHER
    return Verdict.LOWER_REDUCED if reduced_budget else Verdict.LOWER_FULL


def not_run(needs: str) -> str:
    """The verdict of a cell without a finished run: `not run (needs ...)`."""
    return f"not run (needs {needs})"
