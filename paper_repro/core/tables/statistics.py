"""Means over seeds and their intervals, and the interval of one accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` runs; `half_width` of its 95 % interval is None for one run.

    The unit is that of the values it was made from.
    """

    mean: float
    half_width: float | None
    n: int

    @property
    def draw_half_width(self) -> float | None:
        """Half the width of the 95 % interval of one more run, `t_(n-1) s sqrt(1 + 1/n)`."""
        return None if self.half_width is None else self.half_width * math.sqrt(self.n + 1)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed exactly.

    Raises:
      ValueError: no values.
    """
    if not values:
        raise ValueError("the mean of no values")
    return math.fsum(values) / len(values)


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the mean's interval, `t_(n-1) s / sqrt(n)` by Student's t.

    The unit of the values; None for a single value, which says nothing about its spread. It
    covers what differs between the values (seeds: the support draw, the target batches), not the
    finite test set, which they share (`binomial_interval`).
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    n, centre = len(values), mean(values)
    deviation = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1))
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * deviation / math.sqrt(n)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, 95 % half width and count of `values`."""
    return Estimate(mean(values), half_width(values), len(values))


def binomial_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Wilson's score interval (low, high) of one accuracy measured on `n` test images.

    Args:
      accuracy: a fraction in [0, 1].
      n: the number of test images.

    Raises:
      ValueError: `accuracy` is outside [0, 1] or `n` is not positive.
    """
    if not 0 <= accuracy <= 1 or n < 1:
        raise ValueError(f"an accuracy of {accuracy} on {n} images has no interval")
    from scipy.special import ndtri

    z = float(ndtri(0.5 + CONFIDENCE / 2))
    scale = 1 + z * z / n
    centre = (accuracy + z * z / (2 * n)) / scale
    reach = z / scale * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)
