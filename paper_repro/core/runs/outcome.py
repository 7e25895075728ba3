"""What a procedure hands to the runner."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a finished run contributes to its result row.

    Attributes:
      test_accuracy: fraction of the test set.
      test_mse: with the 0.5 factor.
      n_test: size of the test set.
      step: selected step, None for a procedure without steps.
      seconds: of computing, all sessions together; None if only the caller's clock counts.
      budget: what was spent.
      extra: more fields of the row.
    """

    test_accuracy: float
    test_mse: float
    n_test: int
    step: int | None
    seconds: float | None
    budget: dict[str, Any]
    extra: dict[str, Any]
