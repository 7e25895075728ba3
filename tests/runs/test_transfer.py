"""Transfer to finite networks: cells, rows, resuming, divergence, and the three scripts."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
import small_transfer

from paper_repro import figure3_width, figure4_hyperparameters, table2_transfer
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.network.grid import choose
from paper_repro.core.network.settings import ADAM, Settings
from paper_repro.core.runs.options import RunOptions, Selection
from paper_repro.core.runs.presets import SMOKE
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.runs.transfer_cells import (
    FILE_TO_NN,
    Recipe,
    SetSource,
    cell_on,
    file_set,
    find_set,
)
from paper_repro.core.sets.learned_set import InMemory
from paper_repro.core.store.row_schema import problem_with
from paper_repro.core.store.rows import read_rows, run_directory

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {"width": 4, "steps": 3, "learning_rate_factor": (0.1,), "l2": (1e-3,)}
NETWORK |= {"label_scale": (4.0,), "n_validation": 20}

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_transfer.small_data(tmp_path_factory.mktemp("transfer") / "data")


@pytest.fixture(scope="module")
def checkpoints(data):
    return small_transfer.write_sets(data.parent / "checkpoints", data)


@pytest.fixture(scope="module")
def sets(checkpoints):
    return {s.name.split("standard-")[1]: s for s in small_transfer.learned_sets(checkpoints)}


# Cells


def test_the_hash_names_the_set_and_not_its_place(sets):
    cell = cell_on(sets["fixed-noaug"], NETWORK, SMOKE)
    elsewhere = InMemory(cell.config.learned.arrays, Path("elsewhere"))
    moved = with_set(cell, dataclasses.replace(cell.config.learned, source=elsewhere))
    assert moved.config_hash == cell.config_hash and moved == cell
    others = [cell_on(sets["fixed-noaug"], NETWORK, SMOKE, step) for step in (0, 1)]
    others += [cell_on(sets["learned-noaug"], NETWORK, SMOKE)]
    changed = {**cell.config.support, "sha256": "0" * 64}
    config = dataclasses.replace(cell.config, support=changed)
    others += [dataclasses.replace(cell, config=config)]
    assert len({c.config_hash for c in (cell, *others)}) == 5
    assert (
        cell.config.support
        == cell.recorded["support"]
        == {
            "name": sets["fixed-noaug"].name,
            "sha256": sets["fixed-noaug"].record["file_sha256"],
            "step": 2,
        }
    )
    assert cell.method == "KIP to NN"


def test_a_row_says_what_its_set_took_and_what_krr_gives_on_it(sets, data, tmp_path):
    cells = [cell_on(sets["fixed-noaug"], NETWORK, SMOKE, step) for step in (None, 0)]
    cells += [cell_on(sets["ls"], NETWORK, SMOKE)]
    last, first, solved = rows_of(tmp_path, *map(small_fc, cells), data=data)
    for row, steps, krr in ((last, 2, 0.625), (first, 0, 0.5)):
        assert (row["step"], row["budget"]["kip_steps"], row["krr_accuracy"]) == (steps, steps, krr)
        assert row["budget"]["kip_target_batch"] > 0 and row["budget"]["reduced"]
    assert "kip_steps" not in solved["budget"] and "reduced" not in solved["budget"]
    assert (solved["step"], solved["krr_accuracy"]) == (None, 0.625)


def test_a_set_is_found_by_what_it_is(sets):
    found = find_set(list(sets.values()), "small", 2, "KIP to NN")
    assert found is sets["fixed-noaug"]
    assert find_set(list(sets.values()), "small", 2, "KIP to NN", True) is sets["learned-noaug"]
    assert find_set(list(sets.values()), "small", 2, "LS to NN") is sets["ls"]
    assert find_set(list(sets.values()), "small", 2, "KIP to NN", False, True) is None
    without = [learned for kind, learned in sets.items() if kind != "ls"]
    assert find_set(without, "small", 2, "LS to NN") is None
    assert find_set([sets["ls"]], "small", 2, "KIP to NN") is None
    assert find_set(list(sets.values()), "small", 10, "LS to NN") is None


def test_of_several_sets_zca_goes_first_then_natural_targets_then_fixed_labels(sets):
    def kind(name, **changes):
        changed = {**sets["fixed-noaug"].record, **changes}
        return dataclasses.replace(sets["fixed-noaug"], name=name, record=changed)

    ranked = [
        kind("e", zca=True),
        kind("d", zca=True, learned_labels=True),
        kind("c", zca=True, augmentation=True),
        kind("b"),
        kind("a", augmentation=True, learned_labels=True),
    ]
    for first in range(len(ranked)):
        for order in (ranked[first:], [*ranked[:first:-1], ranked[first]]):
            assert find_set(order, "small", 2, "KIP to NN") is ranked[first]
    assert find_set(ranked, "small", 2, "KIP to NN", True) is ranked[1]
    assert find_set(ranked, "small", 2, "KIP to NN", augmentation=True) is ranked[2]
    assert find_set(ranked, "small", 2, "KIP to NN", True, True) is ranked[4]


def test_cross_entropy_is_tried_at_one_scale_only():
    grid = Settings(1, 1, (0.1,), (1e-3,), (1.0, 4.0), loss=("mse", "xent"))
    assert [(p["loss"], p["label_scale"]) for p in grid.points] == [
        ("mse", 1.0),
        ("mse", 4.0),
        ("xent", 1.0),
    ]


def files_of(run):
    return sorted(path.name for path in run.iterdir() if path.name != ".lock")


def small_fc(cell):
    """The same cell with a network that compiles in a moment."""
    return dataclasses.replace(cell, kernel=KernelSpec("FC1"))


def with_set(cell, learned):
    """The same cell, its set read from elsewhere."""
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, learned=learned))


def rows_of(out, *cells, data):
    run_cells("t", cells, [0], RunOptions("smoke", out=out, data_dir=data))
    return read_rows(out / "t.jsonl", smoke=True)


def test_a_file_that_is_not_the_named_one_is_refused(sets, data, tmp_path):
    cell = small_fc(cell_on(sets["ls"], NETWORK, SMOKE))
    with pytest.raises(UserError, match="is not the file that small-convnet-ipc2-standard-ls"):
        rows_of(tmp_path, with_set(cell, sets["fixed-noaug"]), data=data)
    gone = InMemory(sets["ls"].arrays, tmp_path / "none")
    with pytest.raises(
        UserError, match=f"no learned set small-convnet-ipc2-standard-ls at {tmp_path / 'none'}"
    ):
        rows_of(tmp_path, with_set(cell, dataclasses.replace(sets["ls"], source=gone)), data=data)


def test_a_set_made_from_other_images_is_refused(sets, data, tmp_path):
    budget = dataclasses.replace(SMOKE, n_test=None)  # as the set has it, so that it is checked
    cell = small_fc(cell_on(sets["ls"], NETWORK, budget))
    other = {**sets["ls"].record, "data_sha256": "0" * 64, "transform_sha256": "0" * 64}
    foreign = dataclasses.replace(sets["ls"], record=other)
    with pytest.raises(UserError, match="was made from other images than those of small"):
        rows_of(tmp_path, with_set(cell, foreign), data=data)


def test_raw_pixels_in_an_npz_are_refused(sets, data, tmp_path):
    images, labels = sets["ls"].images, sets["ls"].labels
    np.savez(tmp_path / "raw.npz", images=(images > 0).astype(np.uint8), labels=labels)
    raw = file_set(tmp_path / "raw.npz", load_dataset("small", data), zca=False)
    with pytest.raises(UserError, match="uint8, so they look like raw pixels: save them after"):
        rows_of(tmp_path / "out", small_fc(cell_on(raw, NETWORK, SMOKE)), data=data)


def test_an_npz_trains_as_the_set_with_the_same_numbers(sets, data, tmp_path):
    for kind, learned in (("fixed-noaug", False), ("learned-noaug", True)):
        cell = small_fc(cell_on(sets[kind], NETWORK, SMOKE))
        images, labels = sets[kind].images, sets[kind].labels
        np.savez(tmp_path / f"{kind}.npz", images=images, labels=labels)
        small = load_dataset("small", data)
        given = file_set(tmp_path / f"{kind}.npz", small, zca=False)
        from_file = cell_on(given, NETWORK, SMOKE)
        assert (from_file.images_per_class, from_file.learned_labels) == (2, learned)
        rows = rows_of(tmp_path / kind, cell, small_fc(from_file), data=data)
        assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"]
        assert (rows[1]["support"]["name"], rows[1]["krr_accuracy"]) == (kind, None)
        assert rows[1]["method"] == FILE_TO_NN


def test_the_table_takes_an_npz_and_shows_it_apart(sets, data, tmp_path):
    images, labels = sets["fixed-noaug"].images, sets["fixed-noaug"].labels
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    arguments = ["--preset", "smoke", "--npz", tmp_path / "set.npz", "--preprocess", "standard"]
    arguments += ["--out", tmp_path / "out", "--data-dir", data]
    refused = commands.command(table2_transfer.main, *arguments)
    assert refused.returncode == 2
    assert "--npz needs exactly one --datasets" in refused.stderr
    done = commands.command(table2_transfer.main, *arguments, "--datasets", "small")
    assert done.returncode == 0, done.stderr
    assert "The same training on sets from files" in done.stdout
    assert "Fashion-MNIST" not in done.stdout  # lines of other data sets are in the files alone
    assert "Fashion-MNIST" in (tmp_path / "out/table2_transfer.md").read_text()
    (row,) = read_rows(tmp_path / "out/table2_transfer.jsonl", smoke=True)
    assert (row["status"], row["learned_labels"], row["zca"]) == ("done", False, False)
    undone = {k: v for k, v in row.items() if k not in ("support", "krr_accuracy", "chosen")}
    for status in ("interrupted", "failed"):
        shown = table2_transfer.table([{**undone, "status": status}])
        assert len(shown.appendices) == 1
    np.savez(tmp_path / "odd.npz", images=images[:5], labels=labels[:5])
    with pytest.raises(UserError, match="5 images cannot be shared equally by 3"):
        odd = file_set(tmp_path / "odd.npz", load_dataset("small", data), zca=False)
        cell_on(odd, NETWORK, SMOKE)


# Divergence


def test_long_learned_images_bound_the_learning_rate(tmp_path):
    rng = np.random.default_rng(0)
    natural = rng.standard_normal((20, 8, 8, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[np.arange(20) % 10] - 0.1
    long = 8 * natural[:10], labels[:10]
    bounds = {}
    for stability in ("validation", "both"):
        settings = Settings(**NETWORK, stability=stability)
        directory = tmp_path / stability
        key = jax.random.key(0)
        choose(settings, "ConvNet", long, (natural, labels), key, directory)
        bounds[stability] = json.loads((directory / "tried.jsonl").read_text().splitlines()[1])
    assert bounds["both"]["bound"] < bounds["validation"]["bound"] / 32  # near 8 ** 2
    settings = Settings(**NETWORK, stability="both")
    short = 0.1 * natural[:10], labels[:10]
    choose(settings, "ConvNet", short, (natural, labels), jax.random.key(0), tmp_path / "short")
    found = json.loads((tmp_path / "short/tried.jsonl").read_text().splitlines()[1])
    assert found == bounds["validation"]


def test_a_setting_that_diverges_is_recorded_and_the_rest_goes_on(data, tmp_path):
    cell = small_transfer.cell(40, learning_rate_factor=(1e4, 0.1))
    (row,) = rows_of(tmp_path, cell, data=data)
    assert row["status"] == "done"
    assert [tried.get("diverged", False) for tried in row["tried"]] == [True, False]
    assert row["chosen"] == row["tried"][1]


def test_a_row_fails_only_where_every_setting_diverges(data, tmp_path):
    bad = small_transfer.cell(40, learning_rate_factor=(1e4, 1e5))
    good = small_transfer.cell(5)
    rows = rows_of(tmp_path, bad, good, data=data)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert [tried["diverged"] for tried in rows[0]["tried"]] == [True, True]
    assert "diverging" in rows[0]["reason"]
    # What is large is gone, and the same command again tries and adds nothing.
    kept = run_directory(tmp_path, bad.config_hash, 0)
    assert files_of(kept) == ["support.safetensors", "tried.jsonl"]
    assert rows_of(tmp_path, bad, good, data=data) == rows


def test_a_row_that_was_deleted_is_run_again(data, tmp_path):
    (row,) = rows_of(tmp_path, small_transfer.cell(5), data=data)
    (tmp_path / "t.jsonl").unlink()
    (again,) = rows_of(tmp_path, small_transfer.cell(5), data=data)
    assert again["tried"] == row["tried"]


# Resuming

STEPS = 3_000


def outcome(out):
    (row,) = [
        r for r in read_rows(out / "small_transfer.jsonl", smoke=True) if r["status"] == "done"
    ]
    return {k: row[k] for k in ("test_accuracy", "test_mse", "chosen", "tried")}


@pytest.fixture(scope="module")
def uninterrupted(data):
    out = data.parent / "uninterrupted"
    small_transfer.main(out, data, STEPS)
    return outcome(out)


def test_a_run_killed_in_both_settings_ends_in_the_same_bits(uninterrupted, data, tmp_path):
    script = [sys.executable, Path(small_transfer.__file__), "--out", tmp_path]
    script += ["--data-dir", data, "--steps", STEPS]
    command = [str(word) for word in script]
    run = small_transfer.run_of(tmp_path, STEPS)
    log = run / "tried.jsonl"
    for lines in (2, 3):  # the identity, the bound, then a line a point
        state = run / f"point_{lines - 2:03d}" / "state.previous.safetensors"
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 300
        while not state.exists() or len(log.read_text().splitlines()) < lines:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(log.read_text().splitlines()) < 4  # it was stopped before the end
    subprocess.run(command, check=True, capture_output=True)
    assert outcome(tmp_path) == uninterrupted
    assert files_of(run) == ["support.safetensors"]


def test_an_interrupt_in_the_process_and_a_torn_log_change_nothing(
    uninterrupted, data, tmp_path, monkeypatch
):
    from paper_repro.core.network import grid

    real, calls = grid.train, []

    def interrupted(*arguments, progress, **named):
        def stop(step, loss):
            calls.append(step)
            if len(calls) in (7, 45):
                raise KeyboardInterrupt
            progress(step, loss)

        return real(*arguments, progress=stop, **named)

    monkeypatch.setattr(grid, "train", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            small_transfer.main(tmp_path, data, STEPS)
    log = small_transfer.run_of(tmp_path, STEPS) / "tried.jsonl"
    with log.open("a") as file:
        file.write('{"learning_rate_fac')
    small_transfer.main(tmp_path, data, STEPS)
    assert len(calls) < 2 * 60  # what was done was not done again
    assert outcome(tmp_path) == uninterrupted
    statuses = [row["status"] for row in read_rows(tmp_path / "small_transfer.jsonl", smoke=True)]
    assert statuses == ["interrupted", "interrupted", "done"]


# Scripts


def command(module, out, checkpoints, data, ipc=None, npz=(), preprocess=None, **options):
    """The rows of a script on the small data set."""
    chosen = {"datasets": ("small",)} | ({} if ipc is None else {"ipc": ipc})
    if module is not table2_transfer and ipc is None:
        chosen["ipc"] = (1,)
    source = SetSource(npz, preprocess, checkpoints)
    run_options = RunOptions("smoke", out=out, data_dir=data)
    module.main(Selection(**chosen), run_options, source, **options)
    return read_rows(out / f"{module.SCRIPT}.jsonl", smoke=True)


def assert_valid(rows, checkpoints):
    for row in rows:
        assert problem_with(row) is None
        assert (row["status"], row["algorithm"], row["n_test"]) == ("done", "NN", 90)
        assert row["width"] == row["budget"]["width"] and row["chosen"] in row["tried"]
        assert (checkpoints / row["support"]["name"]).is_dir()


def test_table2_trains_on_every_set_and_repeats_nothing(checkpoints, data, tmp_path, capsys):
    rows = command(table2_transfer, tmp_path, checkpoints, data)
    assert_valid(rows, checkpoints)
    assert sorted(row["method"] for row in rows) == ["KIP to NN", "KIP to NN", "LS to NN"]
    assert {row["krr_accuracy"] for row in rows} == {0.625}
    assert "finite ConvNets trained on" in capsys.readouterr().out
    assert command(table2_transfer, tmp_path, checkpoints, data) == rows


def test_table2_trains_by_adam_beside_the_papers_training(checkpoints, data, tmp_path):
    by_paper = command(table2_transfer, tmp_path, checkpoints, data)
    recipe = Recipe("adam", learning_rate=(0.01, 0.02), label_scale=(2.0,))
    rows = command(table2_transfer, tmp_path, checkpoints, data, recipe=recipe)
    assert_valid(rows, checkpoints)
    new = [row for row in rows if row not in by_paper]
    assert len(new) == len(by_paper) == 3
    for row in new:
        assert [point["learning_rate"] for point in row["tried"]] == [0.01, 0.02]
        assert {point["label_scale"] for point in row["tried"]} == {2.0}
        assert row["config"]["network"]["optimizer"] == "adam"
    assert command(table2_transfer, tmp_path, checkpoints, data, recipe=recipe) == rows
    (table,) = (
        t for t in table2_transfer.table(rows).appendices if t.title.startswith("The recipe")
    )
    assert {cell.label["Set"] for cell in table.cells} == {row["support"]["name"] for row in new}
    assert {cell.label["Settings tried"] for cell in table.cells} == {"2"}
    # A row of Adam fills no line of the paper's table.
    line = {"dataset": "cifar10", "zca": True, "images_per_class": 1, "preset": "laptop"}
    row = next(row for row in new if row["method"] == "KIP to NN") | line
    assert all(cell.ours is None for cell in table2_transfer.table([row]).cells)


def test_a_recipe_that_cannot_be(checkpoints, data, tmp_path):
    with pytest.raises(UserError, match="--learning-rate is for --optimizer adam"):
        Recipe(learning_rate=(0.1,))
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="must be positive"):
            Recipe("adam", label_scale=(bad,))
    with pytest.raises(UserError, match="the paper preset trains as the paper does"):
        table2_transfer.main(options=RunOptions("paper", out=tmp_path), recipe=Recipe("adam"))
    sizes = {
        name: (found.network_width, found.network_steps)
        for name, preset in table2_transfer.PRESETS.items()
        for found in [Recipe("adam").sized(preset)]
    }
    assert sizes["smoke"] == (8, 4) and sizes["laptop"] == sizes["gpu"] == (ADAM.width, ADAM.steps)


def test_table2_places_rows_beside_the_published_figures(checkpoints, data, tmp_path):
    shutil.copytree(ROOT / "results", tmp_path, dirs_exist_ok=True)
    rows = [r for path in tmp_path.glob("*.jsonl") for r in read_rows(path)]
    row = dict(next(r for r in rows if r["algorithm"] == "NN"))
    row |= {"dataset": "cifar10", "method": "KIP to NN", "architecture": "ConvNet", "zca": True}
    row |= {"preset": "laptop", "test_accuracy": 0.45, "krr_accuracy": 0.5, "images_per_class": 1}
    learned = {**row, "learned_labels": True, "test_accuracy": 0.41, "config_hash": "b"}
    for given, accuracy, labels in (
        ([row, learned], 45, "fixed"),
        ([learned], 41, "learned (paper: fixed)"),
    ):
        cells = [c for c in table2_transfer.table(given).cells if c.ours is not None]
        assert len(cells) == 1
        assert cells[0].label["Labels"] == labels
        assert cells[0].ours.mean == pytest.approx(accuracy)
        assert cells[0].label["Points from KRR, paper / ours"] == f"-9.2 / {accuracy - 50:+.1f}"


def test_figure3_chooses_once_and_draws_widths_and_steps(checkpoints, data, tmp_path, capsys):
    rows = command(figure3_width, tmp_path, checkpoints, data, ipc=(2,))
    assert_valid(rows, checkpoints)
    assert "wrote" in capsys.readouterr().out
    for name in ("figure3_width", "figure3_steps"):
        assert (tmp_path / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    widths = {
        (r["method"], r["learned_labels"], r["width"]) for r in rows if "width" in r["method"]
    }
    assert len(widths) == 2 * 2  # the KIP set with fixed labels, and LS
    steps = [r for r in rows if r["method"] == "KIP to NN, KIP step"]
    assert len(steps) == 2 * 2 * 2  # labels, loss, step
    assert {row["step"] for row in steps} == {0, 2}
    chosen = {}
    for row in rows:
        network = row["config"]["network"]
        line = (
            row["support"]["name"],
            json.dumps(network.get("augmentation")),
            row["chosen"].get("loss"),
        )
        point = row["chosen"]["learning_rate_factor"], row["chosen"]["label_scale"]
        if "choice" not in row["method"]:
            assert chosen.setdefault(line, point) == point
    table = figure3_width.table(rows)
    assert len(table.cells) == 4 and len(table.appendices[0].cells) == 8
    assert read_rows(tmp_path / f"{figure3_width.SCRIPT}.jsonl") == []  # none but smoke


def test_figure4_pairs_start_and_end_of_every_setting(checkpoints, data, tmp_path):
    rows = command(figure4_hyperparameters, tmp_path, checkpoints, data, ipc=(2,))
    assert_valid(rows, checkpoints)
    assert [(r["method"], r["step"]) for r in rows[:2]] == [("natural start", 0), ("KIP images", 2)]
    table = figure4_hyperparameters.table(rows)
    assert len(table.cells) == len(rows) // 2 == 4
    assert all(cell.label["Natural start"] != "diverged" for cell in table.cells)
    with pytest.raises(UserError, match="keeps no step 3"):
        command(figure4_hyperparameters, tmp_path, checkpoints, data, ipc=(2,), kip_steps=(1, 3))
    picture = tmp_path / "pictures" / f"{figure4_hyperparameters.SCRIPT}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def files(sets, tmp_path):
    """Arguments that give the start and the end of a KIP run as files."""
    paths = tmp_path / "start.npz", tmp_path / "end.npz"
    supports = sets["fixed-noaug"].at_step(0), sets["fixed-noaug"]
    for path, support in zip(paths, supports, strict=True):
        np.savez(path, images=support.images, labels=support.labels)
    return {"npz": paths, "preprocess": "standard"}


def test_figure3_draws_the_widths_of_files(files, checkpoints, data, tmp_path):
    rows = command(figure3_width, tmp_path, checkpoints, data, **files)
    widths = [(r["support"]["name"], r["width"]) for r in rows if r["method"].endswith("width")]
    assert widths == [("start", 4), ("start", 8), ("end", 4), ("end", 8)]
    table = figure3_width.table(rows)
    assert [cell.label["Trained on"] for cell in table.cells] == ["end", "end", "start", "start"]
    assert not table.appendices
    assert (tmp_path / "pictures/figure3_width.png").read_bytes().startswith(b"\x89PNG")


def test_figure4_pairs_files_as_it_pairs_a_series(files, checkpoints, data, tmp_path):
    of_set = command(figure4_hyperparameters, tmp_path / "set", checkpoints, data, ipc=(2,))
    of_files = command(figure4_hyperparameters, tmp_path / "files", checkpoints, data, **files)
    for one, other in zip(of_files, of_set, strict=True):
        assert (one["method"], one["test_accuracy"]) == (other["method"], other["test_accuracy"])
        assert re.fullmatch("start [0-9a-f]{6} to end [0-9a-f]{6}", one["support"]["name"])
        assert one["step"] is None
    assert len(figure4_hyperparameters.table(of_files).cells) == 4
    with pytest.raises(UserError, match="fix size, labels and step: leave out --ipc"):
        command(figure4_hyperparameters, tmp_path, checkpoints, data, kip_steps=(1,), **files)
    with pytest.raises(UserError, match="--npz needs two files"):
        command(figure4_hyperparameters, tmp_path, checkpoints, data, npz=files["npz"][:1])


def test_figure4_counts_settings_once_and_says_which_diverged(checkpoints, data, tmp_path):
    rows = command(figure4_hyperparameters, tmp_path, checkpoints, data, ipc=(2,))
    undone = {"status": "interrupted", "step": None, "test_accuracy": None}
    failed = {**rows[1], "status": "failed", "step": None, "test_accuracy": None}
    again = [rows[0], failed, *rows[2:3], {**rows[3], **undone}, *rows[3:]]
    table = figure4_hyperparameters.table(again)
    assert len(table.cells) == len(rows) // 2
    assert "lines in which both trained" in table.notes[0]
    assert table.notes[0].endswith("0 diverged on the natural start, 1 on the KIP images.")
    assert "a smaller learning rate; the last attempt failed" in table.cells[0].verdict


def test_bad_choices_are_refused_before_any_work(checkpoints, data, tmp_path):
    with pytest.raises(UserError, match="widths must be at least 1, got 0"):
        command(figure3_width, tmp_path, checkpoints, data, ipc=(2,), widths=(8, 0))
    with pytest.raises(UserError, match="no cell has all that is asked for"):
        command(figure4_hyperparameters, tmp_path, checkpoints, data, ipc=())
    with pytest.raises(UserError, match="--preprocess describes --npz files"):
        SetSource(preprocess="zca")
    one = {"npz": (tmp_path / "a.npz",)}
    with pytest.raises(UserError, match="the size of --npz files is fixed: leave out --ipc"):
        command(figure3_width, tmp_path, checkpoints, data, ipc=(10,), **one)
    with pytest.raises(UserError, match="--widths needs --parts width"):
        command(figure3_width, tmp_path, checkpoints, data, parts=("step",), widths=(8,))
    with pytest.raises(UserError, match="no series of KIP steps"):
        command(figure3_width, tmp_path, checkpoints, data, parts=("step",), **one)
    options = RunOptions("smoke", out=tmp_path)
    with pytest.raises(UserError, match="--npz needs exactly one --datasets"):
        figure3_width.main(options=options, source=SetSource(**one))
    twice = tmp_path / "a" / "kip.npz", tmp_path / "b" / "kip.npz"
    with pytest.raises(UserError, match="two files are named kip"):
        command(figure3_width, tmp_path, checkpoints, data, npz=twice)
    with pytest.raises(UserError, match="unknown part 'depth'"):
        command(figure3_width, tmp_path, checkpoints, data, ipc=(2,), parts=("depth",))
    with pytest.raises(UserError, match="has no ConvNet set of small with 50"):
        command(figure3_width, tmp_path, checkpoints, data, ipc=(50,))
    with pytest.raises(UserError, match="not a checkpoints directory"):
        command(table2_transfer, tmp_path, tmp_path, data)
    with pytest.raises(UserError, match="the paper preset always spends"):
        table2_transfer.main(options=RunOptions("paper", out=tmp_path), steps=3)
    for script in (table2_transfer, figure3_width, figure4_hyperparameters):
        with pytest.raises(UserError, match="width must be at least 1, not 0"):
            script.main(options=options, width=0)


def test_the_grid_of_another_call_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 8, 8, 3)).astype(np.float32), np.eye(10) - 0.1
    settings, key = Settings(**NETWORK), jax.random.key(0)
    choose(settings, "FC1", (x, y), (x, y), key, tmp_path)
    tried = (tmp_path / "tried.jsonl").read_bytes()
    with pytest.raises(UserError, match="holds another run"):
        choose(settings, "FC1", (x + 1, y), (x, y), key, tmp_path)
    assert (tmp_path / "tried.jsonl").read_bytes() == tried
