"""The time that is left, as a log says it."""

import re

from paper_repro.core.runs import progress
from paper_repro.core.runs.progress import ProgressBars


def test_the_time_left_is_that_of_the_usual_step(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bars = ProgressBars(runs=1)
    bars.start("a run")
    for step in range(1, 62):
        now[0] += 50.0 if step in (2, 5, 9) else 2.0  # three of them score a test set
        bars.step(step, 361, {"loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a run: 1/361 loss=0.5"  # nothing was timed yet
    left = [float(re.search(r"up to about ([\d.]+) min left", line)[1]) for line in lines[1:]]
    assert 9.9 <= left[-1] <= 10.5 and left[-1] < left[-2]  # 300 steps of two seconds
    # Steps that come in chunks count singly, and another run starts anew.
    bars.start("another")
    now[0] += 1_000
    bars.step(10, 100, {})
    now[0] += 60
    bars.step(40, 100, {})
    assert "another: 40/100, up to about 2.0 min left" in capsys.readouterr().err
