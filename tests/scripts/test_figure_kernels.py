"""Learned sets under other kernels: the scores are those of `evaluate`, the table has its shape."""

from pathlib import Path

import numpy as np
import pytest
from commands import command

from paper_repro import evaluate
from paper_repro import figure_kernels as figure
from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import read_set
from paper_repro.core.store.row_schema import config_hash
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables.wide import widened

SETS = ("mnist-convnet-ipc1-standard-learned-noaug", "mnist-convnet-ipc1-standard-ls")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("kernels")
    chosen = ("--datasets", "mnist", "--kernels", "FC1 NTK", "FC2 NNGP")
    done = command(figure.main, "--preset", "smoke", *chosen, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_scores_are_those_of_evaluate(ran, tmp_path):
    rows = read_rows(ran[0] / f"{figure.SCRIPT}.jsonl", smoke=True)
    assert len(rows) == 6 and all(row["status"] == "done" for row in rows)
    learned = read_set(Path("checkpoints"), SETS[0])
    np.savez(tmp_path / "set.npz", images=learned.images, labels=learned.labels)
    (row,) = [
        row
        for row in rows
        if row["method"] == "Learned by FC2 NNGP" and row["config"]["support"]["name"] == SETS[0]
    ]
    protocol = evaluate.Protocol("mnist", architecture="fc2", kernel="NNGP", n_test=200)
    found = evaluate.evaluate(tmp_path / "set.npz", protocol)
    assert row["test_accuracy"] == found["accuracy"]
    assert row["test_mse"] == pytest.approx(found["mse"], rel=1e-6)


def test_the_table_has_a_line_a_set_and_a_column_a_kernel(ran):
    out, done = ran
    rows = read_rows(out / f"{figure.SCRIPT}.jsonl", smoke=True)
    names, lines = widened(figure.table(rows))
    assert names == ["Data set", "Set", "FC2 NNGP", "FC1 NTK"]
    assert [key[1] for key, _ in lines] == [*SETS, "natural images, standard"]
    assert "FC2" in done.stdout and (out / "pictures/figure_kernels-spectra.png").is_file()


def test_presets_beside_each_other_show_the_largest(ran):
    rows = read_rows(ran[0] / f"{figure.SCRIPT}.jsonl", smoke=True)
    whole = []
    for row in rows:
        config = {name: value for name, value in row["config"].items() if name != "n_test"}
        more = {"config": config, "config_hash": config_hash(config), "preset": "laptop"}
        whole.append({**row, **more, "test_accuracy": 0.99})
    cells = figure.table([*rows, *whole]).cells
    assert [round(cell.ours.mean) for cell in cells] == [99] * 6
    assert len(widened(figure.table([*rows, *whole]))[1]) == 3


def test_sets_of_ones_own_images_are_called_by_their_name(ran):
    rows = read_rows(ran[0] / f"{figure.SCRIPT}.jsonl", smoke=True)
    cells = figure.table([{**row, "dataset": "shapes"} for row in rows]).cells
    assert {cell.label["Data set"] for cell in cells} == {"shapes"}


def test_unknown_kernels_and_empty_directories_are_refused(tmp_path):
    with pytest.raises(UserError, match="unknown kernel 'GP'"):
        figure.main(kernels=("GP",))
    (tmp_path / "index.json").write_text('{"format": 1, "sets": []}')
    with pytest.raises(UserError, match="no set of the ConvNet NTK"):
        figure.main(checkpoints=tmp_path)
