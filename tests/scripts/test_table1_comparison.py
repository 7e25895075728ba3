"""Table 1 as a command: its cells, a smoke run on real data, sets that cannot be had, options."""

import collections
import importlib.util
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from commands import command

from paper_repro import table1_comparison as table1
from paper_repro import table_a3_ablation as ablation
from paper_repro import table_cheap_kernels as cheap
from paper_repro.core.data import cache_directory, load, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.fitting import ZCA_REGULARISATION
from paper_repro.core.runs.options import Selection
from paper_repro.core.runs.scorers import KRR
from paper_repro.core.sets.catalogue import INDEX, read_set
from paper_repro.core.store.row_schema import problem_with
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = table1.SCRIPT

pytestmark = pytest.mark.usefixtures("no_pictures")


def run(*arguments, script=table1, **environment):
    return command(script.main, *arguments, **environment)


def smoke_rows(out):
    return read_rows(out / f"{SCRIPT}.jsonl", smoke=True)


SMOKE = [
    ("LS", "ConvNet"),
    ("KIP (l)", "ConvNet"),
    ("KIP (a + l)", "ConvNet"),
    ("KIP (a + l)", "FC1"),
]
"""Methods and architectures of one size, those in PyTorch where it is installed."""
if importlib.util.find_spec("torch") is not None:
    SMOKE += [("DC", "ConvNet"), ("DSA", "ConvNet")]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """(output directory, finished command): MNIST with a data set that cannot be had."""
    base = tmp_path_factory.mktemp("table1")
    load_dataset("mnist")
    (base / "cache" / "data").mkdir(parents=True)
    for file in (cache_directory() / "data").glob("mnist*"):
        (base / "cache" / "data" / file.name).symlink_to(file)
    out = base / "out"
    arguments = ("--datasets", "mnist", "svhn", "--ipc", "1", "--preset", "smoke", "--out", out)
    with mock.patch.object(load, "_REMOTE", ()):
        return out, run(*arguments, KIP_CACHE_DIR=str(base / "cache"))


def test_a_small_sample_enters_no_real_table():
    row = {
        **{"dataset": "svhn_mini", "method": "LS", "preset": "laptop", "test_accuracy": 0.3},
        **{"algorithm": "KRR", "architecture": "ConvNet", "kernel": "NTK", "zca": True},
        **{"images_per_class": 1, "status": "done", "seed": 0, "budget": {"reduced": False}},
        **{"learned_labels": True, "augmentation": False, "config_hash": "0"},
        **{"started": "", "table": SCRIPT, "config": {"diag_reg": 1e-6}},
    }
    cells = table1.table([row]).cells
    assert all(cell.ours is None for cell in cells)
    sampled = table1.table([{**row, "preset": "smoke"}]).cells
    assert [c.label["Data set"] for c in sampled if c.ours is not None] == ["SVHN (small sample)"]


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A smoke run of the smallest cells of all five data sets, SVHN on the small sample."""
    directory = Path(os.environ.get("KIP_MORE_DATA", "no such directory"))
    if not all((directory / f"{name}.npz").is_file() for name in ("cifar100", "svhn_mini")):
        pytest.skip("KIP_MORE_DATA names no directory with cifar100.npz and svhn_mini.npz")
    out = tmp_path_factory.mktemp("five")
    done = run("--preset", "smoke", "--ipc", "1", "--out", out, "--data-dir", directory)
    assert done.returncode == 0, done.stderr
    assert read_rows(out / f"{SCRIPT}.jsonl") == []  # none but smoke
    return smoke_rows(out), done.stdout


def test_the_smoke_preset_runs_all_five_data_sets(five):
    rows, _ = five
    assert {row["status"] for row in rows} == {"done"}
    runs = collections.Counter(row["dataset"] for row in rows)
    names = ("mnist", "fashion_mnist", "svhn_mini", "cifar10", "cifar100")
    assert runs == dict.fromkeys(names, len(SMOKE))


def test_the_small_sample_of_svhn_is_called_one_and_whitened_as_svhn(five):
    _, printed = five
    assert "SVHN (small sample)  1" in printed
    assert "SVHN (small sample): not the data set but the file svhn_mini.npz" in printed
    assert not [line for line in printed.splitlines() if line.startswith("SVHN  ")]
    assert ZCA_REGULARISATION["svhn_mini"] == ZCA_REGULARISATION["svhn"] == 100


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (table1, ["--random-kernel"]),
        (table1, ["--augmented-part", "0"]),
        (table1, ["--support-batch", "1"]),
        (table1, ["--seeds", "1", "--beside", "results"]),
        (table1, ["--steps", "0", "--target-batch", "7"]),
        (ablation, ["--seeds", "1", "--steps", "0", "--target-batch", "7"]),
    ],
    ids=lambda value: getattr(value, "SCRIPT", None) or " ".join(value),
)
def test_options_that_evaluate_only_cannot_honour_are_refused(script, options, tmp_path):
    done = run("--evaluate-only", *options, "--out", tmp_path, script=script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--evaluate-only scores the sets" in done.stderr
    names = ", ".join(word for word in options if word.startswith("--"))
    assert done.stderr.endswith(f" leave out {names}\n")


def test_sets_are_scored_again_and_cells_without_one_are_named(tmp_path):
    sets, name = tmp_path, "mnist-convnet-ipc1-standard-ls"
    shutil.copytree(ROOT / "checkpoints" / name, sets / name)
    (sets / INDEX).write_text(json.dumps({"sets": [name]}))
    chosen = ("--datasets", "mnist", "--ipc", "1", "50", "--methods", "LS")
    done = run("--evaluate-only", *chosen, "--checkpoints", sets)
    assert done.returncode == 0, done.stderr
    scored, missing = done.stdout.splitlines()
    record = read_set(sets, name).record
    percent = f"{100 * record['metrics']['test_accuracy']:.2f} %"
    assert scored.startswith(f"{record['name']}: test accuracy {percent}, MSE ")
    assert f"on 10,000 images (record: {percent}," in scored
    assert missing == f"no set in {sets}: mnist-convnet-ipc50-standard-ls"


def test_rows_beside_that_are_nowhere_are_an_error_before_anything_runs(tmp_path):
    done = run("--preset", "smoke", "--out", tmp_path / "out", "--beside", tmp_path / "gone")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --beside {tmp_path / 'gone'} is not a directory")
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_cannot_be_had_costs_its_own_cells_alone(smoke):
    out, done = smoke
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: the cells of svhn were left out: cannot get SVHN")
    rows = smoke_rows(out)
    assert {row["dataset"] for row in rows} == {"mnist"}
    assert [row["status"] for row in rows] == ["done"] * len(SMOKE)


def test_the_rows_of_a_smoke_run_are_valid_and_enter_no_table(smoke):
    rows = smoke_rows(smoke[0])
    assert [(row["method"], row["architecture"]) for row in rows] == SMOKE
    assert all(problem_with(row) is None for row in rows)
    assert read_rows(smoke[0] / f"{SCRIPT}.jsonl") == []
    shown = [cell for cell in table1.table(rows).cells if cell.ours]
    assert len(shown) == len(SMOKE)


def test_only_the_chosen_lines_are_printed_and_the_file_has_all(smoke):
    out, done = smoke
    printed = done.stdout.split("Label Solve against")[0]
    for words in ("MNIST", "SVHN", "DSA", "ours / paper"):
        assert words in printed
    assert "CIFAR-100" not in printed and "not run (needs" not in printed
    assert "CIFAR-100" in (out / f"{SCRIPT}.md").read_text()


def test_other_rows_are_printed_below(smoke, tmp_path):
    out, _ = smoke
    row = {**smoke_rows(out)[0], "preset": "laptop", "test_accuracy": 0.7345}
    (tmp_path / f"{SCRIPT}.jsonl").write_text(json.dumps(row) + "\n")
    arguments = ("--datasets", "mnist", "--ipc", "1", "--preset", "smoke", "--out", out)
    done = run(*arguments, "--beside", tmp_path)
    assert done.returncode == 0, done.stderr
    below = done.stdout.split("The same lines from the rows in")[1]
    assert "73.5 (n = 1)" in below
    assert "published figure only" not in below


def test_the_table_has_every_published_cell():
    table = table1.table([])
    assert len(table.cells) == len(published.table1())
    runs = table1.cells(table1.PRESETS["paper"])
    cells = {(c.dataset, c.images_per_class, c.method, c.architecture, c.zca) for c in runs}
    assert len(cells) == len(runs) == 14 * 6 + 8
    assert len(table.appendices[0].cells) == 22


def test_gray_sets_are_standardised_and_rgb_sets_are_whitened():
    for cell in table1.cells(table1.PRESETS["laptop"]):
        if cell.method.startswith("KIP"):
            rgb = cell.dataset in ("svhn", "cifar10", "cifar100")
            assert cell.zca == (rgb and cell.architecture == "ConvNet")


def test_cells_are_chosen_by_their_whitening(tmp_path):
    arguments = ("--preset", "smoke", "--datasets", "cifar10", "--ipc", "1", "--methods", "LS")
    for zca in ("False", "True"):
        out = tmp_path / zca
        done = run(*arguments, "--zca", zca, "--out", out)
        assert done.returncode == 0, done.stderr
        (row,) = smoke_rows(out)
        assert str(row["zca"]) == zca
    everything = ablation.cells(table1.PRESETS["laptop"])
    for zca in (True, False):
        assert [c.zca for c in Selection().choose(everything, zca=zca)] == 12 * [zca]
    assert len(Selection().choose(everything)) == 24


def test_gray_sets_have_no_whitened_cell(tmp_path):
    done = run("--datasets", "mnist", "--zca", "True", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no cell matches --datasets mnist --zca True: relax one filter" in done.stderr


def test_the_fc_cells_are_those_of_the_cheap_kernel_table():
    ours = {c.config_hash for c in table1.cells(table1.PRESETS["paper"]) if c.dataset == "cifar10"}
    theirs = {
        c.config_hash
        for c in cheap.cells(cheap.PRESETS["paper"])
        if (c.architecture, c.method, c.scorer) == ("FC1", "KIP (a + l)", KRR())
    }
    assert len(theirs) == 2
    assert theirs <= ours


def test_six_cells_are_shared_with_the_ablation():
    budget = table1.PRESETS["gpu"]
    ours = {c.config_hash for c in table1.cells(budget)}
    assert len(ours & {c.config_hash for c in ablation.cells(budget)}) == 6


@pytest.mark.parametrize("option", ["--steps", "--target-batch"])
def test_the_papers_budget_is_not_to_be_changed(option, tmp_path):
    done = run("--preset", "paper", option, "7", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "the paper preset always spends the paper's budget" in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_of_kip_need_a_kip_cell():
    with pytest.raises(UserError, match="need KIP cells of the ConvNet"):
        table1.main(Selection(methods=("LS",)), variation=table1.Variation(random_kernel=True))


def test_options_of_kip_stand_in_an_appendix_and_not_in_the_table(tmp_path):
    arguments = ("--datasets", "mnist", "--ipc", "10", "--methods", "KIP (l)", "--preset", "smoke")
    done = run(*arguments, "--random-kernel", "--support-batch", "3", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = smoke_rows(tmp_path)
    assert row["config"]["random_architectures"] == ["ConvNet", "Conv-3", "Conv-8"]
    table = table1.table([row])
    assert all(cell.ours is None for cell in table.cells)
    assert table.appendices[1].cells[0].ours is not None


def test_a_part_of_augmented_targets_fills_no_cell_and_exports_no_set(tmp_path):
    arguments = ("--datasets", "mnist", "--ipc", "1", "--preset", "smoke", "--out", tmp_path)
    done = run(*arguments, "--architectures", "ConvNet", "--augmented-part", "0.5")
    assert done.returncode == 0, done.stderr
    (row,) = smoke_rows(tmp_path)
    assert row["method"] == "KIP (a + l)"
    assert row["config"]["augmentation"]["fraction"] == 0.5
    table = table1.table([row])
    assert all(cell.ours is None for cell in table.cells)
    assert table.appendices[1].cells[0].label["Augmented targets"] == "50 %"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        *((part, "0 <= fraction <= 1") for part in ("-0.1", "1.1", "nan")),
        ("1", "--augmented-part 1 changes nothing"),
    ],
)
def test_a_part_that_is_none_is_refused(part, says, tmp_path):
    done = run("--augmented-part", part, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_learned_sets_that_are_not_there_are_reported(tmp_path):
    done = run("--evaluate-only", "--checkpoints", tmp_path)
    assert done.returncode == 2
    assert "has no index.json" in done.stderr
