"""The CIFAR-10 ablation: all 24 cells at the smoke preset, and cells compared at one budget."""

import dataclasses
from unittest import mock

import pytest
from commands import command

from paper_repro import table_a3_ablation as ablation
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published

SCRIPT = ablation.SCRIPT

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """(rows, what was printed) of all cells; those of 500 images take no step, to be quick."""
    out = tmp_path_factory.mktemp("ablation")
    small = {"smoke": dataclasses.replace(ablation.PRESETS["smoke"], n_test=40)}
    arguments = ("--preset", "smoke", "--out", out)
    with mock.patch.dict(ablation.PRESETS, small):
        done = command(ablation.main, *arguments, "--ipc", "50", "--steps", "0")
        assert done.returncode == 0, done.stderr
    done = command(ablation.main, *arguments, "--ipc", "1", "10")
    assert done.returncode == 0, done.stderr
    assert read_rows(out / f"{SCRIPT}.jsonl") == []  # none but smoke
    return read_rows(out / f"{SCRIPT}.jsonl", smoke=True), done.stdout


def test_all_24_cells_run(smoke):
    rows, _ = smoke
    assert len({row["config_hash"] for row in rows}) == len(rows) == 24
    assert {row["status"] for row in rows} == {"done"}
    table = ablation.table(rows)
    assert len(table.cells) == len(published.ablation_a3()) == 24
    assert all(cell.ours is not None for cell in table.cells)
    assert {row["budget"]["steps"] for row in rows if row["images_per_class"] < 50} == {1}


def test_the_printed_table_says_in_how_many_pairs_the_published_order_shows(smoke):
    assert "ZCA above none in" in smoke[1]
    assert "learned labels above fixed ones in" in smoke[1]


def row_of(row, steps, accuracy, **changes):
    """`row` as if it had been run for `steps` at the laptop preset."""
    config = {**row["config"], "steps": steps}
    return {
        **row,
        "preset": "laptop",
        "config": config,
        "config_hash": f"{row['config_hash']}-{steps}",
        "test_accuracy": accuracy,
        "budget": {"steps": steps},
        **changes,
    }


def test_cells_of_a_size_are_compared_at_the_budget_most_of_them_have(smoke):
    ones = [row for row in smoke[0] if row["images_per_class"] == 1]
    short = [row_of(row, 120, 0.40 + 0.01 * i) for i, row in enumerate(ones)]
    long = row_of(ones[0], 335, 0.55)
    table = ablation.table([*short, long])
    shown = {round(cell.ours.mean, 2) for cell in table.cells if cell.ours is not None}
    assert shown == {round(40 + i, 2) for i in range(8)}
    (more,) = table.appendices[0].cells
    assert more.ours.mean == pytest.approx(55)


def test_cells_of_a_size_without_a_common_budget_are_all_shown(smoke):
    tens = [row for row in smoke[0] if row["images_per_class"] == 10]
    rows = [row_of(row, 30 + i, 0.40 + 0.01 * i) for i, row in enumerate(tens)]
    table = ablation.table(rows)
    shown = {round(cell.ours.mean, 2) for cell in table.cells if cell.ours is not None}
    assert shown == {round(40 + i, 2) for i in range(8)}
    assert not any("in 4 of 4 pairs" in note for note in table.notes)  # they do not compare


def test_a_cell_without_a_run_at_the_common_budget_is_shown_at_its_own_and_named(smoke):
    first, *others = [row for row in smoke[0] if row["images_per_class"] == 10]
    rows = [row_of(first, 162, 0.59), *(row_of(row, 30, 0.40) for row in others[:2])]
    table = ablation.table(rows)
    shown = sorted(cell.ours.mean for cell in table.cells if cell.ours is not None)
    assert shown == pytest.approx([40, 40, 59])
    (note,) = [note for note in table.notes if note.startswith("At a budget of its own")]
    assert "10 per class" in note and "162 steps" in note
    assert not any("largest budget" in part.title for part in table.appendices)


def test_networks_trained_by_adam_are_no_networks_of_the_paper(smoke):
    (row,) = [
        row
        for row in smoke[0]
        if row["images_per_class"] == 10 and row["method"] == "KIP" and row["zca"]
    ]
    by_adam = row["config"] | {"network": {"width": 128, "steps": 200, "optimizer": "adam"}}
    row = {**row, "algorithm": "NN", "method": "KIP to NN", "preset": "laptop"}
    titles = [part.title for part in ablation.table([{**row, "config": by_adam}]).appendices]
    assert "Finite ConvNets trained on the same sets" not in titles
    by_sgd = by_adam | {"network": {"width": 128, "steps": 200}}
    titles = [part.title for part in ablation.table([{**row, "config": by_sgd}]).appendices]
    assert "Finite ConvNets trained on the same sets" in titles


def test_one_budget_for_all_leaves_no_appendix(smoke):
    ones = [row for row in smoke[0] if row["images_per_class"] == 1]
    table = ablation.table([row_of(row, 120, 0.4) for row in ones])
    assert [part for part in table.appendices if "largest budget" in part.title] == []
