"""`--minutes`: steps from the measured speed, the same plan again, and what cannot be asked for."""

import dataclasses
import json
import time

import numpy as np
import pytest
import small_table
from commands import command
from small_problem import small_problem

from paper_repro import distill, table_dc_coresets
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.kernels.dot_product import fully_connected_kernel
from paper_repro.core.methods.label_solve import LabelSolve, LabelSolveConfig
from paper_repro.core.methods.problem import seconds_per_entry
from paper_repro.core.runs.cell import distilling_cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.presets import CONVNET, Spending
from paper_repro.core.runs.time_budget import within
from paper_repro.core.store.rows import read_rows

pytestmark = pytest.mark.usefixtures("no_pictures")

MINUTES = 0.1
TOLERANCE = 2.0
"""How far a run may be from its time, as a factor: other work goes on beside the tests."""


def run(place, *more, minutes=MINUTES):
    words = ["--datasets", "small", "--data-dir", place / "data", "--out", place / "out"]
    words += ["--methods", "KIP (l)", "LS", "--architectures", "ConvNet", "--target-batch", "100"]
    done = command(distill.main, *words, "--minutes", minutes, *more)
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


def test_where_scoring_takes_the_time_something_is_learned_all_the_same(tmp_path):
    small_table.write_data(tmp_path / "data")
    minutes = 2e-5  # less than scoring takes
    done = run(tmp_path, minutes=minutes)
    (plan,) = [p for p in (tmp_path / "out/plans").glob("*.json") if "LS" in p.read_text()]
    planned = json.loads(plan.read_text())["at_most"]
    assert planned > minutes and f"at most {planned:g} min" in done.stderr


def test_the_plan_is_printed_and_kept(ran):
    place, done, _ = ran
    rows = rows_of(place)
    assert rows[0]["config_hash"] == rows[1]["config_hash"]
    (plan,) = [p for p in (place / "out/plans").glob("*.json") if "KIP" in p.read_text()]
    kept = json.loads(plan.read_text())["changes"]
    assert kept["steps"] == rows[0]["budget"]["steps"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("plan: ")]
    steps = f"{rows[0]['budget']['steps']:,}"
    assert any(f"steps {steps}, at most 0.1 min (planned before)" in line for line in lines)
    assert any("LS ipc=1: its whole budget, at most 0.1 min" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--minutes", "0"], "minutes must be positive"),
        (["--minutes", "nan"], "minutes must be positive"),
        (["--minutes", "1", "--steps", "3"], "leave out --steps"),
        (["--minutes", "1", "--n-targets", "30"], "leave out --n-targets"),
        (["--minutes", "1", "--preset", "paper"], "always spends the paper's budget"),
    ],
)
def test_what_makes_no_plan_is_refused(tmp_path, options, says):
    small_table.write_data(tmp_path / "data")
    words = ["--datasets", "small", "--data-dir", tmp_path / "data", "--out", tmp_path / "out"]
    done = command(distill.main, *words, *options)
    assert done.returncode == 2 and says in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_the_paper_preset_of_networks_is_not_cut_either(tmp_path):
    words = ["--preset", "paper", "--datasets", "mnist", "--ipc", "1", "--methods", "Random"]
    done = command(table_dc_coresets.main, *words, "--minutes", 5, "--out", tmp_path)
    assert done.returncode == 2 and "always spends the paper's budget" in done.stderr


def test_a_decay_runs_to_its_end_where_a_preset_would_stop_on_validation():
    waiting = dataclasses.replace(CONVNET["gpu"], patience=100)
    assert Spending(minutes=1.0).of(waiting).patience is None
    assert Spending(decay="cosine").of(waiting).patience is None
    assert Spending(steps=7).of(waiting).patience == 100


def test_a_cell_whose_first_steps_fail_is_left_to_its_run(tmp_path, capsys):
    data = small_table.write_data(tmp_path / "data")
    cell = distilling_cell("KIP", "small", 2, KernelSpec("FC1"), CONVNET["laptop"])
    bad = dataclasses.replace(cell, config=dataclasses.replace(cell.config, learning_rate=1e30))
    planned = within(0.01, [bad, cell], RunOptions("laptop", out=tmp_path / "out", data_dir=data))
    assert planned[0] == bad and planned[1].config.steps != cell.config.steps
    assert "none, since its first steps fail" in capsys.readouterr().err


def test_minutes_bring_the_decay_unless_told():
    laptop = CONVNET["laptop"]
    assert Spending(minutes=1.0).of(laptop).decay == laptop.decay == "cosine"
    assert Spending(minutes=1.0).of(CONVNET["gpu"]).decay == "cosine"
    assert Spending(decay="constant").of(laptop).decay is None
    assert Spending(minutes=1.0, decay="constant").of(laptop).decay is None
    assert Spending().of(laptop) == laptop
    with pytest.raises(UserError, match="leave out --steps"):
        Spending(minutes=1.0, steps=2)


def test_label_solve_takes_as_many_targets_as_fit(tmp_path):
    """Its labels are then those of a solve against the drawn targets alone."""
    problem = small_problem(fully_connected_kernel(1))
    method, config = LabelSolve(), LabelSolveConfig(2)
    assert method.within(problem, config, 60.0) == config
    per_entry = seconds_per_entry(problem)
    short = method.within(problem, config, 100 * 6 * per_entry)
    assert 6 <= short.n_targets < len(problem.labels)
    few = dataclasses.replace(config, n_targets=60)
    found = method.run(problem, few, 0, tmp_path)
    assert found.record["budget"] == {"n_targets": 60, "reduced": True}
    whole = method.run(problem, config, 0, tmp_path / "whole")
    assert found.images.tobytes() == whole.images.tobytes()
    assert not np.array_equal(found.labels, whole.labels)
    assert method.work(few) < method.work(config)
