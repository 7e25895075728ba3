"""The tables of DC's evaluation: coresets and DC, both judges, and networks crossed with sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import command, without_pictures

pytest.importorskip("torch")

from paper_repro import figure_cross_architecture, table_dc_coresets, table_judges
from paper_repro.core.runs import judged
from paper_repro.core.runs.cell import cell_of
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.store.row_schema import config_hash, problem_with
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def coresets(out):
    with without_pictures():
        return command(
            table_dc_coresets.main,
            *("--preset", "smoke", "--datasets", "mnist", "--ipc", "1"),
            *("--methods", "DC", "--out", out),
        )


def test_dc_fills_its_line_of_the_table(coresets, out):
    assert coresets.returncode == 0, coresets.stderr
    (row,) = read_rows(out / "table_dc_coresets.jsonl", smoke=True)
    assert problem_with(row) is None and row["algorithm"] == "NN"
    assert (row["architecture"], row["kernel"], row["zca"]) == ("ConvNet", None, False)
    assert row["test_accuracy"] == pytest.approx(np.mean(row["network_accuracies"]))
    assert row["budget"]["networks"] == len(row["network_accuracies"]) == 2
    assert cell_of(json.loads(json.dumps(row["config"]))).config_hash == row["config_hash"]
    cells = table_dc_coresets.table([row]).cells
    assert len(cells) == len(published.coresets())
    (filled,) = [cell for cell in cells if cell.ours is not None]
    assert filled.label == {"Data set": "MNIST", "Images per class": "1", "Method": "DC"}
    assert filled.published.accuracy_percent == 91.7


def test_a_stored_set_is_not_made_again():
    name = "mnist-convnet-ipc1-standard-dc"
    stored = [s for s in read_catalogue(Path("checkpoints")) if s.name == name]
    assert [s.record["method"] for s in stored] == ["DC"]
    sizes, budget = [("mnist", 1), ("fashion_mnist", 1)], judged.PRESETS["smoke"]
    cells = judged.judged_cells(table_judges.JUDGES, stored, ("DC", "Random"), sizes, budget)
    made = {(cell.dataset, cell.method) for cell in cells if not cell.method.endswith(" set")}
    assert made == {("mnist", "Random"), ("fashion_mnist", "Random"), ("fashion_mnist", "DC")}
    assert {cell.method for cell in cells} == {"DC set", "DC", "Random"}


def test_both_judges_score_one_set(coresets, out, tmp_path):
    arguments = ("--preset", "smoke", "--datasets", "mnist", "--made", "DC")
    where = ("--out", out, "--checkpoints", tmp_path)
    (tmp_path / "index.json").write_text('{"format": 1, "sets": []}')
    with without_pictures():
        done = command(table_judges.main, *arguments, *where)
    assert done.returncode == 0, done.stderr
    rows = read_rows(out / "table_judges.jsonl", smoke=True)
    # DC's own evaluation on MNIST augments, that of the judges does not.
    assert [row["algorithm"] for row in rows] == ["KRR", "NN"]
    # The set was not learned again: the run of the other table was finished.
    assert "1/2" not in done.stderr and all(row["step"] == 2 for row in rows)
    cells = table_judges.table(rows).cells
    assert {cell.label["Set"] for cell in cells} == {"DC"}
    assert [cell.label["Judge"] for cell in cells] == ["exact ConvNet NTK", "DC's ConvNet"]


def test_a_line_is_of_one_run_the_one_that_spent_most(coresets, out):
    rows = [r for r in read_rows(out / "table_judges.jsonl", smoke=True)]
    more = []
    for row in rows:
        config = {**row["config"], "iterations": 900}
        more.append({**row, "config": config, "config_hash": config_hash(config)})
    (network,) = [row for row in more if row["algorithm"] == "NN"]
    network["test_accuracy"] = 0.99
    cells = table_judges.table([*rows, network]).cells
    assert [round(cell.ours.mean) for cell in cells] == [99]  # none of the kernel, of that run
    assert len(table_judges.table([*rows, *more]).cells) == 2


def test_networks_are_crossed_with_sets(coresets, out, tmp_path):
    (tmp_path / "index.json").write_text('{"format": 1, "sets": []}')
    arguments = ("--preset", "smoke", "--made", "DC", "--networks", "MLP", "LeNet")
    where = ("--out", out, "--checkpoints", tmp_path)
    with without_pictures():
        done = command(figure_cross_architecture.main, *arguments, *where)
    assert done.returncode == 0, done.stderr
    rows = read_rows(out / "figure_cross_architecture.jsonl", smoke=True)
    assert [row["architecture"] for row in rows] == ["MLP", "LeNet"]
    judges = [cell.label["Judge"] for cell in figure_cross_architecture.table(rows).cells]
    assert judges == ["MLP", "LeNet"]


def test_unknown_names_are_refused(tmp_path):
    done = command(figure_cross_architecture.main, "--networks", "VGG", "--out", tmp_path)
    assert done.returncode == 2 and "unknown network 'VGG': choose from ConvNet" in done.stderr
    done = command(table_judges.main, "--made", "DX", "--out", tmp_path)
    assert done.returncode == 2 and "unknown method 'DX'" in done.stderr
    done = command(table_judges.main, "--datasets", "mnis", "--out", tmp_path)
    assert done.returncode == 2 and "unknown data set 'mnis'" in done.stderr
