"""DC against DD: what a smoke run leaves, and which figures stand where."""

import pytest
from commands import command, without_pictures

from paper_repro import table_dc_vs_dd as table
from paper_repro.core.store.row_schema import problem_with
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published

SMOKE = ("--preset", "smoke", "--datasets", "mnist")


def test_every_published_cell_is_run_or_said_not_to_be():
    cells = table.cells(table.PRESETS["paper"])
    names = {
        (c.dataset, c.images_per_class, c.method, c.scorer.evaluation.network.name) for c in cells
    }
    assert names == {
        ("mnist", 1, "DC", "LeNet"),
        ("mnist", 10, "DC", "LeNet"),
        ("mnist", 10, "DD", "LeNet"),
        ("cifar10", 1, "DC", "AlexCifarNet"),
        ("cifar10", 10, "DC", "AlexCifarNet"),
        ("cifar10", 10, "DD", "AlexCifarNet"),
        ("cifar10", 10, "SLDD", "AlexCifarNet"),
        ("cifar10", 1, "DC", "ConvNet"),
        ("cifar10", 10, "DC", "ConvNet"),
    }
    assert all(cell.scorer.evaluation.networks in (20, 200) for cell in cells)
    empty = table.table([])
    assert len(empty.cells) == len(published.lenet_alexcifarnet()) == 8
    only = [cell.label["Method"] for cell in empty.cells if "only" in cell.verdict]
    assert only == ["Whole dataset"] * 2
    (appendix,) = empty.appendices
    assert [cell.label["Method"] for cell in appendix.cells] == ["DC", "DC", "DC", "SLDD", "DD"]
    assert all("make torch" in cell.verdict for cell in appendix.cells)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("dd")
    with without_pictures():
        command(table.main, *SMOKE, "--methods", "DC", "--ipc", 1, "--out", out)
        return out, command(table.main, *SMOKE, "--methods", "DD", "--out", out)


def test_a_smoke_run_fills_its_lines(ran):
    out, done = ran
    assert done.returncode == 0, done.stderr
    rows = read_rows(out / f"{table.SCRIPT}.jsonl", smoke=True)
    assert [(r["method"], r["images_per_class"]) for r in rows] == [("DC", 1), ("DD", 10)]
    for row in rows:
        assert problem_with(row) is None and row["status"] == "done"
        assert (row["architecture"], row["algorithm"]) == ("LeNet", "NN")
        assert row["budget"]["reduced"] is True
    rates = rows[1]["rates"]
    assert len(rates) == 3 and {len(epoch) for epoch in rates} == {10}
    filled = [cell for cell in table.table(rows).cells if cell.ours is not None]
    assert [cell.label["Data set"] for cell in filled] == ["MNIST"] * 2
    assert "2 outer steps" in done.stdout and "10 networks" in done.stdout
    assert "A smoke test" in done.stdout


def test_the_same_command_again_adds_no_row(ran):
    out, _ = ran
    before = (out / f"{table.SCRIPT}.jsonl").read_bytes()
    with without_pictures():
        assert command(table.main, *SMOKE, "--methods", "DD", "--out", out).returncode == 0
    assert (out / f"{table.SCRIPT}.jsonl").read_bytes() == before


def test_a_cell_that_is_not_in_the_table_is_refused(tmp_path):
    done = command(table.main, "--methods", "LD", "--out", tmp_path)
    assert done.returncode == 2 and "unknown method 'LD' in this table" in done.stderr
