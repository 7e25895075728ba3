"""The `checkpoints/` directory: exported from finished runs, read back with checks, rescored."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_table

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.methods.kip.log import support_path
from paper_repro.core.methods.label_solve import LabelSolveConfig
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.runs import gallery
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.export import export
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.runs.rescore import Rescoring
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.sets import catalogue
from paper_repro.core.sets.catalogue import read_catalogue, read_set
from paper_repro.core.store import checkpoint
from paper_repro.core.store.rows import read_rows, run_directory


def kip(steps):
    """The test set is scored at every official step."""
    cell = small_table.cell(steps)
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, test_share=None))


KIP = kip(6)
SOLVED = Cell("small", "LS", LabelSolveConfig(2), KernelSpec("FC1"))


def options(out, data, preset="laptop"):
    return RunOptions(preset, out=out, data_dir=data)


def rescore(cells, checkpoints, data):
    Rescoring(True, checkpoints).rescore(cells, options(Path("none"), data))


def prepared(cell, data):
    return prepared_data(cell, data, Execution())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(results, data directory, checkpoints) of a KIP and an LS run on the small data set."""
    base = tmp_path_factory.mktemp("exported")
    data = small_table.write_data(base / "data")
    results = base / "results"
    run_cells(small_table.SCRIPT, [KIP, SOLVED], [0, 1], options(results, data))
    export(results, base / "checkpoints", (0,), 100, data)
    return results, data, base / "checkpoints"


@pytest.fixture
def copied(runs, tmp_path):
    """A copy of the checkpoints that a test may damage."""
    return shutil.copytree(runs[2], tmp_path / "checkpoints")


def test_every_finished_set_is_there_under_its_release_name(runs):
    names = [learned.name for learned in read_catalogue(runs[2])]
    assert names == ["small-fc1-ipc2-standard-learned-noaug", "small-fc1-ipc2-standard-ls"]


def test_what_a_killed_export_left_is_swept_away(runs, copied):
    results, data, _ = runs
    (name, *_) = [learned.name for learned in read_catalogue(copied)]
    index = (copied / catalogue.INDEX).read_bytes()
    shutil.copytree(copied / name, copied / ".export-1a2b")
    (copied / name).rename(copied / ".export-1a2b-old")
    export(results, copied, (0,), 100, data)
    assert (copied / catalogue.INDEX).read_bytes() == index
    assert len(read_set(copied, name).images) == 6
    assert list(copied.glob(".export*")) == []


def test_the_support_is_the_one_the_run_selected(runs):
    results, _, checkpoints = runs
    for cell, name in ((KIP, "learned-noaug"), (SOLVED, "ls")):
        directory = run_directory(results, cell.config_hash, 0)
        path = support_path(directory, 6) if cell is KIP else directory / "support.safetensors"
        expected = checkpoint.load(path).tensors
        learned = read_set(checkpoints, f"small-fc1-ipc2-standard-{name}")
        assert learned.images.tobytes() == expected["images"].tobytes()
        assert learned.labels.tobytes() == expected["labels"].tobytes()


def test_the_series_holds_the_earlier_official_steps(runs):
    results, _, checkpoints = runs
    learned = read_set(checkpoints, "small-fc1-ipc2-standard-learned-noaug")
    assert learned.steps == [0, 1, 2, 4]
    assert learned.at_step(6) is learned
    for step in learned.steps:
        kept = checkpoint.load(
            support_path(run_directory(results, KIP.config_hash, 0), step)
        ).tensors
        then = learned.at_step(step)
        assert then.images.tobytes() == kept["images"].tobytes()
        assert (then.record["step"], then.record["metrics"].keys()) == (
            step,
            {"test_accuracy", "test_mse", "seconds"},
        )
    with pytest.raises(UserError, match="keeps no step 3"):
        learned.at_step(3)


def test_the_record_says_what_the_set_is_and_how_to_make_it_again(runs):
    record = read_set(runs[2], "small-fc1-ipc2-standard-learned-noaug").record
    assert cell_of(record["config"]) == KIP
    assert record["config_hash"] == KIP.config_hash
    assert (record["step"], record["seed"], record["n_classes"]) == (6, 0, 3)
    assert record["metrics"]["n_test"] == 90
    # KIP with learned labels under the name of KIP is no run of `distill`: the table has made it.
    for words in (f"paper_repro.{small_table.SCRIPT}", "--steps 6", "--target-batch 120"):
        assert words in record["command"]
    assert record["command"].endswith("--data-dir DIRECTORY")


def test_there_are_pictures_of_images_and_labels(runs):
    for learned in read_catalogue(runs[2]):
        for name in ("images.png", "labels.png"):
            assert (runs[2] / learned.name / name).read_bytes().startswith(b"\x89PNG")
    assert (runs[2] / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_exporting_again_changes_no_byte(runs, copied):
    results, data, checkpoints = runs
    export(results, copied, (0,), 100, data)
    for path in checkpoints.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert path.read_bytes() == (copied / path.relative_to(checkpoints)).read_bytes()


def test_a_larger_budget_replaces_a_set_and_a_smaller_one_does_not(runs, copied):
    _, data, _ = runs
    name = "small-fc1-ipc2-standard-learned-noaug"
    for steps, kept in ((2, 6), (8, 8), (6, 8)):
        results = copied.parent / f"results{steps}"
        run_cells(small_table.SCRIPT, [kip(steps)], [0], options(results, data))
        export(results, copied, (0,), 100, data)
        assert read_set(copied, name).record["step"] == kept
        assert len(read_catalogue(copied)) == 2


def test_a_torn_line_of_metrics_costs_what_follows_it_alone(runs, tmp_path):
    results, data, _ = runs
    torn = shutil.copytree(results, tmp_path / "results")
    path = run_directory(torn, KIP.config_hash, 0) / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:20])
    (learned,) = export(torn, tmp_path / "c", (0,), 100, data, [KIP.config_hash])
    series = {entry["step"]: entry["metrics"] for entry in learned.record["series"]}
    assert list(series) == [0, 1, 2, 4]
    assert all(series[step] for step in (0, 1, 2)) and series[4] == {}
    rows = read_rows(small_table.rows_of(torn), smoke=True)
    gallery.draw(small_table.SCRIPT, [KIP], rows, options(torn, data), 0)
    curves = torn / "pictures" / f"{small_table.SCRIPT}-curves.png"
    assert curves.read_bytes().startswith(b"\x89PNG")


def test_large_sets_are_exported_without_their_series(runs, tmp_path):
    results, data, _ = runs
    export(results, tmp_path, (0,), 5, data)
    assert read_set(tmp_path, "small-fc1-ipc2-standard-learned-noaug").steps == []


def test_smoke_runs_are_never_exported(runs, tmp_path):
    _, data, _ = runs
    run_cells(small_table.SCRIPT, [kip(2)], [0], options(tmp_path / "r", data, "smoke"))
    with pytest.raises(UserError, match="no finished run of a method that learns"):
        export(tmp_path / "r", tmp_path / "c", (0,), 100, data)


def test_sets_are_scored_again_without_training(runs, capsys):
    _, data, checkpoints = runs
    rescore([KIP, SOLVED], checkpoints, data)
    printed = capsys.readouterr().out
    for learned in read_catalogue(checkpoints):
        accuracy = 100 * learned.record["metrics"]["test_accuracy"]
        assert f"{learned.name}: test accuracy {accuracy:.2f} %" in printed


def test_a_zca_fitted_on_another_machine_is_accepted_and_other_data_are_not(runs, copied):
    path = copied / "small-fc1-ipc2-standard-ls" / catalogue.RECORD
    record, shared = json.loads(path.read_text()), prepared(SOLVED, runs[1])
    elsewhere = {**record, "transform_sha256": "0" * 64}
    whitened = dataclasses.replace(SOLVED, zca=True)
    zca = prepared(whitened, runs[1])
    assert require_recorded("a", {**elsewhere, "zca": True}, zca.dataset, zca.transform)
    assert not require_recorded("a", record, shared.dataset, shared.transform)
    for wrong, words in (
        (elsewhere, "another standardisation"),
        ({**record, "data_sha256": "0" * 64}, "from other images"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=words):
            rescore([SOLVED], copied, runs[1])


def test_a_set_that_does_not_score_what_its_record_says_is_named(runs, copied):
    path = copied / "small-fc1-ipc2-standard-ls" / catalogue.RECORD
    record = json.loads(path.read_text())
    record["metrics"]["test_accuracy"] += 0.01
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="small-fc1-ipc2-standard-ls"):
        rescore([KIP, SOLVED], copied, runs[1])


def test_cells_without_a_set_are_reported(runs):
    with pytest.raises(UserError, match="has no set of the chosen cells"):
        rescore([dataclasses.replace(SOLVED, config=LabelSolveConfig(3))], runs[2], runs[1])


LEARNED = "small-fc1-ipc2-standard-learned-noaug"


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES = {
    "no index": (lambda d: (d / "index.json").unlink(), "has no index.json"),
    "index is a list": (lambda d: (d / "index.json").write_text("[]"), "list of names"),
    "index is not JSON": (lambda d: (d / "index.json").write_text("{"), "cannot be read"),
    "a name that climbs": (lambda d: _edit(d / "index.json", sets=["../x"]), "not the name"),
    "a set that is gone": (lambda d: shutil.rmtree(d / LEARNED), "no learned set"),
    "another set's record": (lambda d: _edit(d / LEARNED / "record.json", name="x"), "the record"),
    "another format": (lambda d: _edit(d / LEARNED / "record.json", format=2), "format 2"),
    "a truncated support": (
        lambda d: (d / LEARNED / "support.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}"),
        "truncated or damaged",
    ),
    "another support": (
        lambda d: shutil.copy(
            d / LEARNED / "series/step_000002.safetensors", d / LEARNED / "support.safetensors"
        ),
        "not the file its record names",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named(copied, damage):
    harm, words = DAMAGES[damage]
    harm(copied)
    with pytest.raises(UserError, match=words):
        for learned in read_catalogue(copied):
            assert len(learned.images)


def test_a_missing_field_is_named(copied):
    path = copied / LEARNED / "record.json"
    record = json.loads(path.read_text())
    del record["diag_reg"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks diag_reg"):
        read_set(copied, LEARNED)


def test_labels_are_float32_and_images_are_kernel_inputs(runs):
    for learned in read_catalogue(runs[2]):
        images, labels = learned.images, learned.labels
        assert images.dtype == labels.dtype == np.float32
        assert (images.shape, labels.shape) == ((6, 8, 8, 3), (6, 3))


def test_the_committed_sets_are_those_their_records_name():
    for learned in read_catalogue(Path(__file__).parents[2] / "checkpoints"):
        record = learned.record
        size = record["images_per_class"] * record["n_classes"]
        for kept in (learned, *map(learned.at_step, learned.steps)):
            images, labels = kept.images, kept.labels
            assert images.dtype == labels.dtype == np.float32
            assert len(images) == size and labels.shape == (size, record["n_classes"])
            assert np.isfinite(images).all() and np.isfinite(labels).all()
