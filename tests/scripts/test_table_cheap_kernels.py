import os
import resource
import subprocess
import sys

import pytest
from commands import command, without_pictures
from PIL import Image

from paper_repro import table_cheap_kernels
from paper_repro.core.store.row_schema import problem_with
from paper_repro.core.store.rows import read_rows, rows_for
from paper_repro.core.tables import published

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
    rows = read_rows(out / f"{SCRIPT}.jsonl", smoke=True)
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
    rows = read_rows(out / f"{SCRIPT}.jsonl", smoke=True)
    table = table_cheap_kernels.table(rows)
    assert len(table.cells) == len(published.cheap_kernels())
    run_here = [cell for cell in table.cells if cell.label["Method"] not in ("DC", "SLDD", "DD")]
    assert len(run_here) == 12
    for cell in run_here:
        assert cell.ours is not None
        assert f"{cell.ours.mean:.1f} (n = 1)" in done.stdout


def test_smoke_rows_never_enter_a_published_table(smoke):
    out, _ = smoke
    assert read_rows(out / f"{SCRIPT}.jsonl") == rows_for(SCRIPT, out) == []


def test_the_printed_table_has_all_columns_and_marks_what_is_only_published(smoke):
    out, done = smoke
    for words in ("Algorithm", "Architecture", "Method", "Images", "Paper", "Ours (mean, 95 %"):
        assert words in done.stdout
    for words in ("Difference", "Budget", "Verdict", "smoke test, not to be compared"):
        assert words in done.stdout
    assert "Natural images scored by KRR" in done.stdout
    # The grid that comes first has them all.
    (grid,) = (part for part in done.stdout.split("\n\n") if "100" in part and "SLDD" in part)
    assert [line.split()[-1] for line in grid.splitlines() if "AlexNet" in line] == [
        "39.1",
        "39.8",
        "36.8",
    ]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (out / f"{SCRIPT}.md").read_text().splitlines()
        if line.startswith("|")
    ]
    only = [line for line in lines if line[-1] == "published figure only"]
    assert [line[2:5] for line in only] == [
        ["DC", "100", "39.1 ± 1.2"],
        ["SLDD", "100", "39.8 ± 0.8"],
        ["DD", "100", "36.8 ± 1.2"],
    ]
    not_run = [line for line in lines if line[-1].startswith("not run")]
    assert [line[1:4] for line in not_run] == [["ConvNet", "DC", "10"], ["ConvNet", "DC", "100"]]


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


def test_options_of_kip_stand_in_an_appendix_and_not_in_the_table(tmp_path):
    arguments = ("--preset", "smoke", "--ipc", "1", "--initial", "noise", "--out", tmp_path)
    with without_pictures():
        for options in (["--methods", "KIP", "--learn-scale"], ["--methods", "KIP (a + l)"]):
            done = command(table_cheap_kernels.main, *arguments, *options)
            assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / f"{SCRIPT}.jsonl", smoke=True)
    found = [(row["architecture"], row["config"].get("learn_scale", False)) for row in rows]
    assert found == [("RBF", True), ("RBF", False), ("FC1", False)]
    assert {row["config"]["initial"] for row in rows} == {"noise"}
    assert rows[0]["parameters"]["scale"] != 1.0 and "parameters" not in rows[1]
    table = table_cheap_kernels.table(rows)
    assert all(cell.ours is None for cell in table.cells)
    lines = [tuple(cell.label.values())[4:] for cell in table.appendices[-1].cells]
    assert lines == [("noise", "learned"), ("noise", "fixed"), ("noise", "fixed")]
    for wrong in (["--methods", "LS"], ["--methods", "LS", "--learn-scale"]):
        done = command(table_cheap_kernels.main, *arguments, *wrong)
        assert done.returncode == 2 and "KIP cells" in done.stderr


@pytest.mark.parametrize("words", [MODULE, FILE], ids=["module", "file"])
def test_help_shows_examples_within_two_seconds_of_a_core(words, tmp_path):
    runs = [run(*words, "--help", cwd=tmp_path) for _ in range(3)]
    for done in runs:
        assert (done.returncode, done.stderr) == (0, "")
        assert "Examples:" in done.stdout
        assert "--preset paper --ipc 1 --methods KIP" in done.stdout
        for option in ("--preset", "--datasets", "--ipc", "--seeds", "--out", "--data-dir"):
            assert option in done.stdout
    assert min(done.cpu_seconds for done in runs) < 2
    assert list(tmp_path.iterdir()) == []
