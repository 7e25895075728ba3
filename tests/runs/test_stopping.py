"""Runs that are killed or asked to end, as real processes, end in the bytes of undisturbed ones.

What goes on to the end undisturbed does so in this process: starting another takes seconds.
"""

import contextlib
import functools
import json
import random
import signal
import subprocess
import sys
import time

import pytest
import small_table

from paper_repro.core.store.rows import read_rows

STEPS = {"FC1": 483, "ConvNet": 112}
"""Of KIP; seconds of work on two cores."""


def rows_of(out):
    return read_rows(small_table.rows_of(out), smoke=True)


class Runs:
    """Commands of one architecture on one data set."""

    def __init__(self, architecture, data):
        self.architecture, self.data, self.steps = architecture, data, STEPS[architecture]
        self.uninterrupted = data.parent / "uninterrupted"
        self.finish(self.uninterrupted)

    def start(self, out):
        options = {"--out": out, "--data-dir": self.data, "--steps": self.steps}
        words = [word for pair in options.items() for word in map(str, pair)]
        command = [sys.executable, small_table.__file__, *words]
        return subprocess.Popen(
            [*command, "--architecture", self.architecture], stderr=subprocess.PIPE, text=True
        )

    def finish(self, out):
        small_table.main(out, self.data, self.steps, self.architecture)

    def wait(self, process, what):
        deadline = time.monotonic() + 200
        while not what():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def wait_for_step(self, out, step, process):
        metrics = self.directory(out) / "metrics.jsonl"
        words = f'"step": {step},'
        self.wait(process, lambda: metrics.exists() and words in metrics.read_text())

    def wait_for_a_state(self, out, process):
        """Until the process has saved one, wherever it began."""
        state, now = self.directory(out) / "state.safetensors", time.time_ns()

        def saved():
            # Between its two renames a save leaves the file without its name for a moment.
            with contextlib.suppress(FileNotFoundError):
                return state.stat().st_mtime_ns > now
            return False

        self.wait(process, saved)

    def directory(self, out):
        return small_table.run_of(out, self.steps, self.architecture)

    def everything_but_seconds(self, out):
        run = self.directory(out)
        entries = [json.loads(line) for line in (run / "metrics.jsonl").open()]
        for entry in entries:
            del entry["seconds"]
        return entries, {path.name: path.read_bytes() for path in run.glob("support_*")}

    def assert_as_uninterrupted(self, out):
        expected = self.everything_but_seconds(self.uninterrupted)
        assert self.everything_but_seconds(out) == expected
        assert f"support_{self.steps:06d}.safetensors" in expected[1]
        row, whole = rows_of(out)[-1], rows_of(self.uninterrupted)[-1]
        assert row["test_accuracy"] == whole["test_accuracy"]
        assert (row["status"], row["step"]) == ("done", self.steps)


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    """architecture -> its runs."""

    @functools.cache
    def made(architecture):
        directory = tmp_path_factory.mktemp(architecture)
        return Runs(architecture, small_table.write_data(directory / "data"))

    return made


@pytest.fixture
def runs(runs_of):
    return runs_of("FC1")


@pytest.mark.parametrize("architecture", STEPS)
def test_a_run_killed_at_three_random_moments_ends_in_the_same_bytes(
    architecture, runs_of, tmp_path
):
    runs, moments = runs_of(architecture), []
    for _ in range(3):
        process = runs.start(tmp_path / "out")
        runs.wait_for_a_state(tmp_path / "out", process)
        moments.append(random.uniform(0, 0.2))
        time.sleep(moments[-1])
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, moments
    assert rows_of(tmp_path / "out") == []
    runs.finish(tmp_path / "out")
    runs.assert_as_uninterrupted(tmp_path / "out")


def test_a_run_whose_last_state_was_damaged_goes_on_from_the_one_before(runs, tmp_path):
    process = runs.start(tmp_path / "out")
    runs.wait_for_step(tmp_path / "out", 54, process)
    process.kill()
    process.communicate()
    state = runs.directory(tmp_path / "out") / "state.safetensors"
    # The kill may fall between the two renames that make a state the latest one.
    whole = state if state.exists() else state.with_name("state.previous.safetensors")
    state.write_bytes(whole.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=f"checkpoint {state} is truncated or damaged"):
        runs.finish(tmp_path / "out")
    runs.assert_as_uninterrupted(tmp_path / "out")


def test_a_run_that_is_asked_to_end_leaves_a_row_and_resumes(runs, tmp_path):
    out = tmp_path / "out"
    process = runs.start(out)
    runs.wait_for_step(out, 54, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("interrupted: what was finished is kept")
    assert "Traceback" not in errors
    (row,) = rows_of(out)
    assert row["status"] == "interrupted" and row["test_accuracy"] is None
    runs.finish(out)
    runs.assert_as_uninterrupted(out)
    assert [r["status"] for r in rows_of(out)] == ["interrupted", "done"]
