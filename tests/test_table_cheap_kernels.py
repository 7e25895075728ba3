import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_table
from PIL import Image

from paper_repro import table_cheap_kernels
from paper_repro.core import published
from paper_repro.core.results import read_rows
from paper_repro.core.row_schema import problem_with

SCRIPT = table_cheap_kernels.SCRIPT
MODULE = ["-m", f"paper_repro.{SCRIPT}"]
FILE = [table_cheap_kernels.__file__]


def run(*arguments, cwd=None):
    """The command, with columns enough that no line of a table is wrapped."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    done.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """(output directory, finished process) of one smoke run on the real CIFAR-10."""
    out = tmp_path_factory.mktemp("smoke") / "out"
    done = run(*MODULE, "--preset", "smoke", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_every_cell_has_one_valid_finished_row(smoke):
    out, _ = smoke
    rows = read_rows(out / f"{SCRIPT}.jsonl")
    cells = table_cheap_kernels.cells(table_cheap_kernels.PRESETS["smoke"])
    assert [row["config_hash"] for row in rows] == [cell.config_hash for cell in cells]
    assert len({row["config_hash"] for row in rows}) == len(rows) == 16
    for row in rows:
        assert problem_with(row) is None
        assert (row["status"], row["preset"], row["seed"]) == ("done", "smoke", 0)
        assert (row["dataset"], row["n_test"]) == ("cifar10", 500)
        assert row["support_size"] == 10 * row["images_per_class"]


def test_every_printed_cell_of_the_table_is_backed_by_its_row(smoke):
    out, done = smoke
    rows = read_rows(out / f"{SCRIPT}.jsonl")
    table = table_cheap_kernels.table(rows, include_smoke=True)
    assert len(table.cells) == len(published.cheap_kernels())
    run_here = [cell for cell in table.cells if cell.label["Method"] not in ("DC", "SLDD", "DD")]
    assert len(run_here) == 12
    for cell in run_here:
        assert cell.ours is not None
        assert f"{cell.ours.mean:.1f} (n = 1)" in done.stdout


def test_smoke_rows_never_enter_a_published_table(smoke):
    out, _ = smoke
    table = table_cheap_kernels.table(read_rows(out / f"{SCRIPT}.jsonl"))
    assert all(cell.ours is None for cell in table.cells)


def test_the_printed_table_has_all_columns_and_marks_what_is_only_published(smoke):
    _, done = smoke
    for words in ("Algorithm", "Architecture", "Method", "Images", "Paper", "Ours (mean, 95 %"):
        assert words in done.stdout
    for words in ("Difference", "Budget", "Verdict", "lower under reduced budget"):
        assert words in done.stdout
    only = [line for line in done.stdout.splitlines() if line.endswith("published figure only")]
    methods = [line.split()[2] for line in only]
    assert methods == ["DC", "DC", "DC", "SLDD", "DD"]
    assert "28.3 ± 0.5" in only[0]
    assert "Natural images scored by KRR" in done.stdout


def test_markdown_png_and_pictures_are_written(smoke):
    out, _ = smoke
    text = (out / f"{SCRIPT}.md").read_text()
    assert "published figure only" in text and "| KRR | FC1 | KIP (a + l) | 100 |" in text
    images = {path.name for path in (out / "pictures").iterdir()}
    assert len([name for name in images if name.endswith("-images.png")]) == 8
    assert len([name for name in images if name.endswith("-labels.png")]) == 4
    assert f"{SCRIPT}-curves.png" in images
    for path in [out / f"{SCRIPT}.png", *(out / "pictures").iterdir()]:
        with Image.open(path) as image:
            assert min(image.size) >= 50


def test_the_same_command_again_adds_no_row_and_is_quick(smoke):
    out, first = smoke
    before = (out / f"{SCRIPT}.jsonl").read_bytes()
    again = run(*MODULE, "--preset", "smoke", "--out", out)
    assert again.returncode == 0, again.stderr
    assert (out / f"{SCRIPT}.jsonl").read_bytes() == before
    assert again.stdout == first.stdout
    assert again.cpu_seconds < max(10, first.cpu_seconds / 2)


def test_nothing_is_left_half_written(smoke):
    out, _ = smoke
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("command", [MODULE, FILE], ids=["module", "file"])
def test_help_shows_examples_within_two_seconds_of_a_core(command, tmp_path):
    runs = [run(*command, "--help", cwd=tmp_path) for _ in range(3)]
    for done in runs:
        assert (done.returncode, done.stderr) == (0, "")
        assert "Examples:" in done.stdout
        assert "--preset paper --ipc 1 --methods KIP" in done.stdout
        for option in ("--preset", "--datasets", "--ipc", "--seeds", "--out", "--data-dir"):
            assert option in done.stdout
    assert min(done.cpu_seconds for done in runs) < 2
    assert list(tmp_path.iterdir()) == []


# Stopping and resuming, with a command of the same machinery that takes seconds.

STEPS = 483


def start(out, data):
    script = Path(small_table.__file__)
    arguments = ["--out", out, "--data-dir", data, "--steps", STEPS]
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


def finish(out, data):
    process = start(out, data)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


def wait_for_step(out, step, process):
    metrics = small_table.run_of(out, STEPS) / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() or f'"step": {step},' not in metrics.read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def everything_but_seconds(out):
    run = small_table.run_of(out, STEPS)
    entries = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    for entry in entries:
        del entry["seconds"]
    return entries, {path.name: path.read_bytes() for path in run.glob("support_*")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_table.write_data(tmp_path_factory.mktemp("small") / "data")


@pytest.fixture(scope="module")
def uninterrupted(data):
    out = data.parent / "uninterrupted"
    small_table.main(out, data, STEPS)
    return out


def test_a_run_killed_twice_and_damaged_ends_in_the_bytes_of_an_uninterrupted_one(
    uninterrupted, data
):
    out = data.parent / "killed"
    for step in (26, 112):
        process = start(out, data)
        wait_for_step(out, step, process)
        time.sleep(0.02)  # somewhere after it
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert read_rows(small_table.rows_of(out)) == []
    state = small_table.run_of(out, STEPS) / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    assert f"checkpoint {state} is truncated or damaged" in finish(out, data)
    assert everything_but_seconds(out) == everything_but_seconds(uninterrupted)
    (row,), (expected,) = (read_rows(small_table.rows_of(o)) for o in (out, uninterrupted))
    assert row["test_accuracy"] == expected["test_accuracy"]
    assert (row["status"], row["step"]) == ("done", STEPS)


def test_a_run_that_is_asked_to_end_leaves_a_row_and_resumes(uninterrupted, data):
    out = data.parent / "asked"
    process = start(out, data)
    wait_for_step(out, 54, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("interrupted: what was finished is kept")
    assert "Traceback" not in errors
    (row,) = read_rows(small_table.rows_of(out))
    assert row["status"] == "interrupted" and row["test_accuracy"] is None
    finish(out, data)
    assert everything_but_seconds(out) == everything_but_seconds(uninterrupted)
    assert [r["status"] for r in read_rows(small_table.rows_of(out))] == ["interrupted", "done"]
