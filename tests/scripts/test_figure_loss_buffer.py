"""Coresets under label noise and rebuilt sets, as a smoke test of the script."""

from pathlib import Path

import pytest
from commands import command

from paper_repro import figure_loss_buffer as figure
from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import cell_of
from paper_repro.core.sets.catalogue import read_set
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables.wide import widened

pytest.importorskip("torch")

LEARNED = "mnist-convnet-ipc1-standard-learned-noaug"
CHOSEN = ("Random", "Forgetting", "Loss buffer (score)", "As learned", "LDA + PCA 9")


def run(out):
    chosen = ("--flipped", "0.4", "--methods", *CHOSEN)
    done = command(figure.main, "--preset", "smoke", *chosen, "--out", out)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("loss")
    return out, run(out)


@pytest.fixture
def rows(ran):
    return read_rows(ran[0] / f"{figure.SCRIPT}.jsonl", smoke=True)


def test_rows_are_complete_and_name_their_cells(rows):
    assert [row["method"] for row in rows] == list(CHOSEN)
    for row in rows:
        assert row["status"] == "done" and row["n_test"] == 200
        assert cell_of(row["config"]).config_hash == row["config_hash"]
    chosen, rebuilt = rows[:3], rows[3:]
    for row in chosen:
        assert row["algorithm"] == "NN" and row["config"]["flipped"] == 0.4
        assert row["support_size"] == 50 and (50 * row["purity"]) % 1 == pytest.approx(0, abs=1e-9)
    assert [row["algorithm"] for row in rebuilt] == ["KRR", "KRR"]
    learned, few = rebuilt
    assert "reconstruction_error" not in learned and 0.5 < few["reconstruction_error"] < 1
    assert 0.5 < few["natural_error"] < 1 and few["test_accuracy"] < learned["test_accuracy"]


def test_the_networks_that_choose_are_trained_once(ran):
    assert len(list((ran[0] / "runs").glob("reference-*"))) == 1


def test_the_table_has_accuracy_purity_and_rebuilt_sets(ran, rows):
    table = figure.table(rows)
    names, lines = widened(table)
    assert names == ["Choice", *(f"{share:.0%} flipped" for share in figure.SHARES)]
    assert [key[0] for key, _ in lines] == list(figure.CHOICES)
    purity, rebuilt = table.appendices
    for part, field in ((table, "test_accuracy"), (purity, "purity")):
        filled = [cell for cell in part.cells if cell.ours is not None]
        found = {cell.label["Choice"]: cell.ours.mean for cell in filled}
        assert found == pytest.approx({row["method"]: 100 * row[field] for row in rows[:3]})
        assert {cell.label["Flipped"] for cell in filled} == {"40%"}
    assert [cell.label["Components"] for cell in rebuilt.cells] == list(CHOSEN[3:])
    assert figure.table([]).appendices[0].cells[0].ours is None


def test_pictures_are_written_and_named(ran):
    for name in ("accuracy", "purity", LEARNED):
        path = ran[0] / "pictures" / f"{figure.SCRIPT}-{name}.png"
        assert path.is_file() and f"wrote {path}" in ran[1].stdout


def test_the_same_command_runs_nothing_again(ran):
    before = (ran[0] / f"{figure.SCRIPT}.jsonl").read_bytes()
    run(ran[0])
    assert (ran[0] / f"{figure.SCRIPT}.jsonl").read_bytes() == before


def test_every_preset_has_cells_of_its_own():
    sets = [read_set(Path("checkpoints"), LEARNED)]
    hashes = set()
    for budget in figure.PRESETS.values():
        cells = figure.cells(budget)
        assert len(cells) == len(figure.SHARES) * len(figure.CHOICES)
        hashes |= {cell.config_hash for cell in cells}
        rebuilt = figure.rebuilt_cells(budget, sets)
        assert [cell.method for cell in rebuilt][:3] == ["As learned", "PCA 9", "LDA + PCA 9"]
        assert rebuilt[-1].method == "PCA 100" and len(rebuilt) == 8
        for cell in cells:
            kept = cell.config.images_per_class * 10
            assert kept <= (cell.cut.n_train or 60_000) / 10 + 1e-9
    assert len(hashes) == 4 * len(cells)


def test_an_unknown_share_is_refused():
    with pytest.raises(UserError, match=r"unknown share 0.5 of flipped labels: choose from 0.0"):
        figure.main(flipped=(0.5,))
