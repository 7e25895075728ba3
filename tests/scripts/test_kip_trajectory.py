"""The first KIP steps beside the official ones: rows of this table and of no other."""

import pytest
from commands import command

from paper_repro import figure_kip_trajectory as trajectory
from paper_repro import table1_comparison, table_a3_ablation
from paper_repro.core.errors import UserError
from paper_repro.core.runs.export import export
from paper_repro.core.runs.presets import find_preset
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published

SCRIPT = trajectory.SCRIPT

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("trajectory")
    done = command(trajectory.main, "--preset", "smoke", "--out", out)
    assert done.returncode == 0, done.stderr
    return read_rows(out / f"{SCRIPT}.jsonl", smoke=True), out


def official(augmentation):
    runs = published.official_kip_trajectory()
    return [
        run
        for run in runs
        if (run.dataset, run.support_size, run.augmentation) == ("CIFAR-10", 10, augmentation)
    ]


def as_run(row, preset="laptop", shift=0.0, seed=0):
    """A smoke row as if it had followed the official run, `shift` above its MSE."""
    steps = [
        {"step": run.step, "test_accuracy": 0.01, "test_mse": run.test_mse + shift}
        for run in official(row["augmentation"])
    ]
    return {
        **row,
        "preset": preset,
        "seed": seed,
        "budget": {"steps": 6, "target_batch": 5000},
        "trajectory": steps,
    }


def test_both_settings_run(smoke):
    rows, _ = smoke
    assert {row["method"] for row in rows} == {
        "first steps of KIP (l)",
        "first steps of KIP (a + l)",
    }
    assert all(row["status"] == "done" and row["trajectory"][0]["step"] == 0 for row in rows)


def test_methods_are_chosen_by_the_names_that_the_help_lists(smoke, tmp_path):
    _, out = smoke
    before = (out / f"{SCRIPT}.jsonl").read_bytes()
    arguments = ("--preset", "smoke", "--methods", "KIP (a + l)", "--out", out)
    assert command(trajectory.main, *arguments).returncode == 0  # has run: nothing is added
    assert (out / f"{SCRIPT}.jsonl").read_bytes() == before
    done = command(trajectory.main, "--methods", "KIP", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: unknown method 'KIP' in this table: choose from KIP (a + l), KIP (l)\n"
    )


@pytest.mark.parametrize("augmentation", [False, True])
def test_the_mean_of_the_draws_is_held_against_the_tolerance(smoke, augmentation):
    (row,) = [row for row in smoke[0] if row["augmentation"] == augmentation]
    limit = trajectory.TOLERANCE[augmentation]
    for shifts, word in (((0.9, 0.9, 0.9), "yes"), ((0.0, 1.5, 1.2), "yes"), ((1.1, 1.3), "NO")):
        rows = [as_run(row, shift=s * limit, seed=i) for i, s in enumerate(shifts)]
        cells = [cell for cell in trajectory.table(rows).cells if cell.ours is not None]
        assert [cell.label["Step"] for cell in cells] == [
            str(run.step) for run in official(augmentation)
        ]
        assert {cell.label["Within"].split()[0] for cell in cells} == {word}
        assert {cell.verdict for cell in cells} == {"lower at the paper's budget"}


@pytest.mark.parametrize("preset", ["laptop", "gpu", "paper"])
def test_its_rows_enter_no_other_table(smoke, preset):
    rows = [as_run(row, preset) for row in smoke[0]]
    for script in (table1_comparison, table_a3_ablation):
        table = script.table(rows)
        assert all(cell.ours is None for part in (table, *table.appendices) for cell in part.cells)


def test_its_cells_are_those_of_no_other_table():
    for preset in ("smoke", "laptop", "gpu", "paper"):
        hashes = {c.config_hash for c in trajectory.cells(find_preset(preset, trajectory.PRESETS))}
        others = table1_comparison.cells(find_preset(preset, table1_comparison.PRESETS))
        assert hashes.isdisjoint(cell.config_hash for cell in others)


def test_its_supports_are_not_exported(smoke, tmp_path):
    rows, out = smoke
    assert all((out / "runs").glob(f"*{row['config_hash']}*") for row in rows)
    with pytest.raises(UserError, match="no finished run of a method that learns"):
        export(out, tmp_path / "checkpoints", (0,), 100, None)


def test_the_mse_of_ours_and_theirs_is_drawn(smoke, tmp_path):
    assert trajectory.draw([], tmp_path) == []
    rows = [as_run(row, shift=1e-4 * i, seed=i) for row in smoke[0] for i in range(3)]
    (picture,) = trajectory.draw(rows, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
