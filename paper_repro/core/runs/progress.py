"""Progress of a table: bars with an ETA on a terminal, a line now and then in a log."""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

LOG_SECONDS = 30.0

_RECENT = 101
"""Steps whose median says what the next ones take: steps that score the test set are rare, long."""


class ProgressBars:
    """Two levels: runs of the table, and steps of the current run. Writes to stderr."""

    def __init__(
        self,
        runs: int | None,
        done: int = 0,
        quiet_seconds: float = 0.0,
        status: Callable[[], str] = str,
    ):
        """Nothing is shown yet.

        Args:
          runs: number of runs of the table; None where there is one computation alone.
          done: runs that are finished already.
          quiet_seconds: how long a computation may take without anything being shown.
          status: what else there is to say at a step, such as how many workers there are.
        """
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._table = self._bars.add_task(
            "runs", total=runs, completed=done, figures="", visible=runs is not None
        )
        self._run = self._bars.add_task("", total=None, figures="", visible=False)
        self._name, self._status = "", status
        self._quiet_until = time.monotonic() + quiet_seconds
        self._said = float("-inf")
        self._last: tuple[float, int] | None = None
        self._took: deque[float] = deque(maxlen=_RECENT)

    def __enter__(self) -> Self:
        if time.monotonic() >= self._quiet_until:
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def start(self, name: str) -> None:
        """A run begins."""
        self._name, self._last = name, None
        self._took.clear()
        self._bars.reset(self._run, total=None, description=name, figures="", visible=True)

    def step(self, done: int, of: int, figures: Mapping[str, Any]) -> None:
        """The current run has done `done` of at most `of` steps."""
        shown = " ".join(
            f"{short}={figures[name]:.4g}"
            for name, short in (("loss", "loss"), ("validation_accuracy", "val"))
            if name in figures
        )
        shown = ", ".join(filter(None, (shown, self._status())))
        self._bars.update(self._run, completed=done, total=of, figures=shown)
        now = time.monotonic()
        if self._last is not None and done > self._last[1]:
            self._took.append((now - self._last[0]) / (done - self._last[1]))
        self._last = now, done
        if now < self._quiet_until:
            return
        self._bars.start()  # without effect once started
        if not self._bars.disable or now - self._said < LOG_SECONDS:
            return
        self._said = now
        eta = ""
        if self._took:
            minutes = statistics.median(self._took) * (of - done) / 60
            eta = f", up to about {minutes:.1f} min left"
        counted = f"{done}/{of} {shown}".rstrip()
        print(f"{self._name}: {counted}{eta}", file=sys.stderr, flush=True)

    def finish(self, row: Mapping[str, Any]) -> None:
        """The current run ended with this row."""
        self._bars.advance(self._table)
        result = row.get("reason", row["status"])
        if row["status"] == "done":
            result = f"test accuracy {row['test_accuracy']:.4f} in {row['seconds']:.0f} s"
        self._bars.console.print(f"{self._name}: {result}", highlight=False, soft_wrap=True)
