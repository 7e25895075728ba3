"""One number as a publication prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFigure:
    """A published test accuracy.

    Attributes:
      accuracy_percent: the accuracy in percent, as printed.
      plus_minus: what follows the plus-minus sign, in points; None where a single run is printed.
        The sources do not say whether it is a standard deviation or a standard error.
      source: the place where it is printed, for captions and tooltips.
    """

    accuracy_percent: float
    plus_minus: float | None
    source: str

    def __str__(self) -> str:
        if self.plus_minus is None:
            return f"{self.accuracy_percent:.1f}"
        return f"{self.accuracy_percent:.1f} ± {self.plus_minus:.1f}"
