"""Work that is interrupted before its limit, and work that does not let itself be interrupted."""

import signal
import subprocess
import sys
import time

import pytest

from paper_repro.core.machine.time_limit import STOP_SECONDS, TimeLimit

DEAF = """
import signal, time
from paper_repro.core.machine.time_limit import TimeLimit
with TimeLimit(1.0).running():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)
"""


def test_interrupted_in_time():
    begun = time.monotonic()
    limit = TimeLimit(STOP_SECONDS + 0.5)
    with pytest.raises(KeyboardInterrupt), limit.running():
        time.sleep(30)
    assert 0.4 <= time.monotonic() - begun <= 5 and limit.left <= 0
    with TimeLimit(60).running():  # what ends before leaves nothing behind
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_killed_at_the_limit():
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=50)
    assert done.returncode == -signal.SIGKILL and "the limit is reached" in done.stderr
    assert time.monotonic() - begun <= 20
