"""Runs that end without a number: their rows, what is printed, and the error at the end."""

import dataclasses

import numpy as np
import pytest
import small_table
import small_transfer
from commands import command

from paper_repro import figure3_width, figure4_hyperparameters, table2_transfer
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.runs.cell import distilling_cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.runs.scorers import KRR, FiniteNetwork
from paper_repro.core.sets.catalogue import read_set
from paper_repro.core.store.files import exclusive
from paper_repro.core.store.rows import read_rows, run_directory

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_table.write_data(tmp_path_factory.mktemp("undone") / "data")


@pytest.fixture(scope="module")
def files(data):
    """Two sets, of which the second has labels that no training survives."""
    checkpoints = small_transfer.write_sets(data.parent / "checkpoints", data)
    learned = read_set(checkpoints, "small-convnet-ipc2-standard-fixed-noaug")
    images, labels = learned.images, learned.labels
    for name, scale in (("good", 1), ("bad", 1e25)):
        np.savez(data.parent / f"{name}.npz", images=images, labels=scale * labels)
    return data.parent / "good.npz", data.parent / "bad.npz"


def script(module, data, files, out, *options):
    words = ["--preset", "smoke", "--npz", *files, "--datasets", "small"]
    words += ["--preprocess", "standard", "--data-dir", data, "--out", out, *options]
    return command(module.main, *words)


@pytest.mark.parametrize("method", ["Natural", "LS"])
def test_a_kernel_that_cannot_be_solved_costs_its_own_run_alone(method, data, tmp_path):
    good = distilling_cell(method, "small", 2, KernelSpec("FC1"))
    # A ridge that takes the mean of the kernel's diagonal away.
    bad = dataclasses.replace(good, scorer=KRR(diag_reg=-1.0))
    options = RunOptions("smoke", out=tmp_path, data_dir=data)
    unfinished = run_cells("t", [bad, good], [0], options)
    assert unfinished.diverged == [f"small KRR FC1 {method} ipc=2 seed=0"]
    rows = read_rows(tmp_path / "t.jsonl", smoke=True)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "not positive definite" in rows[0]["reason"]
    again = run_cells("t", [bad, good], [0], options)
    assert again == unfinished
    assert read_rows(tmp_path / "t.jsonl", smoke=True) == rows  # the same failure is one row


def test_a_table_is_printed_before_a_run_that_diverged_is_an_error(data, files, tmp_path):
    done = script(table2_transfer, data, files, tmp_path)
    assert done.returncode == 2
    assert "The same training on sets from files" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: 1 run diverged: small NN ConvNet File to NN ipc=2 seed=0; their rows give the "
        "reasons"
    )
    rows = read_rows(tmp_path / "table2_transfer.jsonl", smoke=True)
    assert [row["status"] for row in rows] == ["done", "failed"]


def test_a_figure_is_drawn_before_a_choice_that_diverged_is_an_error(data, files, tmp_path):
    done = script(figure3_width, data, files, tmp_path, "--widths", 4)
    assert done.returncode == 2
    assert f"wrote {tmp_path}/pictures/figure3_width.png" in done.stdout
    assert "error: 1 run diverged: small NN ConvNet File to NN, choice of" in done.stderr


def test_divergence_is_an_outcome_of_figure_4(data, files, tmp_path):
    done = script(figure4_hyperparameters, data, files, tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "figure4_hyperparameters.jsonl", smoke=True)
    assert {row["status"] for row in rows} == {"done", "failed"}


def test_a_finite_network_waits_for_no_kip_run_that_another_process_is_at(data, tmp_path):
    settings = {"width": 4, "steps": 2, "learning_rate_factor": (0.1,), "l2": (1e-3,)}
    settings |= {"label_scale": (1.0,), "n_validation": 20}
    kip = small_table.cell(1)
    cell = dataclasses.replace(kip, scorer=FiniteNetwork(settings))
    assert cell.learning_cell.config_hash == kip.config_hash != cell.config_hash
    options = RunOptions("smoke", out=tmp_path, data_dir=data)
    with (
        exclusive(run_directory(tmp_path, kip.config_hash, 0)),
        pytest.raises(UserError, match="another process is using"),
    ):
        run_cells("t", [cell], [0], options)
    assert run_cells("t", [cell], [0], options).diverged == []
