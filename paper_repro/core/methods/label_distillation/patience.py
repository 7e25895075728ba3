"""When a network of LD is drawn anew: its error has stopped falling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Patience:
    """Follows the sum of the last errors of a network.

    Args:
      window: how many errors are summed, and for how many steps the sum may fail to fall.

    Example:
      >>> patience = Patience(2)
      >>> [patience.is_over(error) for error in (0.9, 0.8, 0.7, 0.7, 0.8, 0.8, 0.8)]
      [False, False, False, False, False, False, True]
    """

    def __init__(self, window: int):
        self._window = window
        self._errors: list[float] = []
        self._lowest, self._since = float("inf"), 0

    def is_over(self, error: float) -> bool:
        """Take in the error of a step; whether the sum has not fallen for too long."""
        self._errors = [*self._errors, error][-self._window :]
        if len(self._errors) < self._window:
            return False
        total = sum(self._errors)
        if total < self._lowest:
            self._lowest, self._since = total, 0
            return False
        self._since += 1
        return self._since > self._window

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        return {
            "patience.errors": np.asarray(self._errors, np.float64),
            "patience.lowest": np.asarray(self._lowest),
            "patience.since": np.asarray(self._since),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`."""
        self._errors = [float(error) for error in state["patience.errors"]]
        self._lowest, self._since = float(state["patience.lowest"]), int(state["patience.since"])
