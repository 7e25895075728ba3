"""What an interrupted Label Solve has done: the factor of its first targets, in a directory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.store import checkpoint

SECONDS = 30.0
"""Time between two writes; a block of targets that takes longer is written when it is done."""


class PartialFactor:
    """The triangular factor of the first targets (see `triangular_factor`).

    Attributes:
      factor: float64 (at most n_support + K, n_support + K); None before the first block.
      n_done: targets in it.
    """

    def __init__(self, directory: Path, identity: str):
        """Read what an earlier call has kept.

        Args:
          directory: of this call alone.
          identity: tells its supports, targets and kernel from those of other calls.

        Raises:
          UserError: the directory holds the factor of another call, or a damaged one alone.
        """
        self._rolling, self._identity = checkpoint.Rolling(directory), identity
        self.factor: np.ndarray | None = None
        self.n_done, self._before = 0, 0.0
        self._started = self._written = time.monotonic()
        if (kept := self._rolling.load()) is None:
            return
        if kept.metadata.get("identity") != identity:
            raise UserError(f"{directory} holds another run: choose another --out or delete it")
        self.factor, self.n_done = kept.tensors["factor"], int(kept.metadata["n_done"])
        self._before = float(kept.metadata["seconds"])

    @property
    def seconds(self) -> float:
        """Since the first call began, without the time between calls."""
        return self._before + time.monotonic() - self._started

    def update(self, factor: np.ndarray, n_done: int) -> None:
        """Take the factor of the first `n_done` targets; it is written now and then."""
        self.factor, self.n_done = factor, n_done
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is done, if anything is."""
        if self.factor is None:
            return
        metadata = {
            "identity": self._identity,
            "n_done": str(self.n_done),
            "seconds": f"{self.seconds:.1f}",
        }
        self._rolling.save({"factor": self.factor}, metadata)
        self._written = time.monotonic()
