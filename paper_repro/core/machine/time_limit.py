"""Work that ends by itself within a limit: interrupted in time to save, and killed at the last."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

STOP_SECONDS = 8.0
"""This long before the limit the work is interrupted, so that its state is saved in time."""

_WATCH = """
import os, select, signal, sys
if not select.select([0], [], [], float(sys.argv[2]))[0]:
    print("the limit is reached: the same command goes on from what was saved", file=sys.stderr)
    os.kill(int(sys.argv[1]), signal.SIGKILL)
"""


class TimeLimit:
    """Interrupts the work in time, and ends the process at the limit whatever it is doing."""

    def __init__(self, seconds: float):
        self._started, self._seconds = time.monotonic(), seconds

    @property
    def left(self) -> float:
        """Seconds until the work is interrupted."""
        return self._started + self._seconds - STOP_SECONDS - time.monotonic()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Watch over a block."""

        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        # A process of its own, since compilers may hold Python's lock for long.
        line = [sys.executable, "-ISc", _WATCH, str(os.getpid()), str(self._seconds)]
        before = signal.signal(signal.SIGALRM, interrupt)
        with subprocess.Popen(line, stdin=subprocess.PIPE) as watch:
            signal.setitimer(signal.ITIMER_REAL, max(0.1, self.left))
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
                watch.stdin.close()
