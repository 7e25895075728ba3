"""`--minutes`: steps from the measured speed, the same plan again, and what cannot be asked for."""

import json
import time

import pytest
import small_table
from commands import command

from paper_repro import distill
from paper_repro.core.errors import UserError
from paper_repro.core.runs.presets import CONVNET, Spending
from paper_repro.core.store.rows import read_rows

pytestmark = pytest.mark.usefixtures("no_pictures")

MINUTES = 0.1
TOLERANCE = 2.0
"""How far a run may be from its time, as a factor: other work goes on beside the tests."""


def run(place, *more):
    words = ["--datasets", "small", "--data-dir", place / "data", "--out", place / "out"]
    words += ["--methods", "KIP (l)", "LS", "--architectures", "ConvNet", "--target-batch", "100"]
    done = command(distill.main, *words, "--minutes", MINUTES, *more)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    place = tmp_path_factory.mktemp("minutes")
    small_table.write_data(place / "data")
    run(place, "--seeds", 0)  # what is compiled for the first time is no part of the plan
    started = time.monotonic()
    done = run(place, "--seeds", 1)
    return place, done, time.monotonic() - started


def rows_of(place):
    rows = read_rows(place / "out/distill.jsonl")
    return {
        seed: next(r for r in rows if r["seed"] == seed and "KIP" in r["method"]) for seed in (0, 1)
    }


def test_the_steps_fill_the_time(ran):
    place, _, _ = ran
    row = rows_of(place)[1]
    assert row["budget"]["decay"] == "cosine" and row["budget"]["target_batch"] == 100
    assert row["budget"]["steps"] > 5
    assert row["seconds"] < TOLERANCE * 60 * MINUTES
    assert row["config"]["steps"] == row["budget"]["steps"]


def test_the_plan_is_printed_and_kept(ran):
    place, done, _ = ran
    rows = rows_of(place)
    assert rows[0]["config_hash"] == rows[1]["config_hash"]
    (plan,) = (place / "out/plans").glob("*.json")
    assert json.loads(plan.read_text())["steps"] == rows[0]["budget"]["steps"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("plan: ")]
    steps = f"{rows[0]['budget']['steps']:,}"
    assert any(f"{steps} steps of 100 targets in about 6 s (planned before)" in x for x in lines)
    assert any("LS ipc=1: about" in x and "all targets" in x for x in lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--minutes", "0"], "minutes must be positive"),
        (["--minutes", "nan"], "minutes must be positive"),
        (["--minutes", "1", "--steps", "3"], "leave out --steps"),
        (["--minutes", "1", "--preset", "paper"], "always spends the paper's budget"),
    ],
)
def test_what_makes_no_plan_is_refused(tmp_path, options, says):
    small_table.write_data(tmp_path / "data")
    words = ["--datasets", "small", "--data-dir", tmp_path / "data", "--out", tmp_path / "out"]
    done = command(distill.main, *words, *options)
    assert done.returncode == 2 and says in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_minutes_bring_the_decay_unless_told():
    laptop = CONVNET["laptop"]
    assert Spending(minutes=1.0).of(laptop).decay == "cosine"
    assert Spending().of(laptop) == laptop
    with pytest.raises(UserError, match="leave out --steps"):
        Spending(minutes=1.0, steps=2)
