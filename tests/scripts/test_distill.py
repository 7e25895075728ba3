"""`paper_repro.distill`: a data set of one's own, from arrays to a release."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import command

import release
from paper_repro import distill, table2_transfer
from paper_repro.core import cli
from paper_repro.core.data import write_own
from paper_repro.core.errors import UserError
from paper_repro.core.methods.kip import KIP
from paper_repro.core.runs.cell import cell_of, distilling_cell
from paper_repro.core.runs.command import command as command_of
from paper_repro.core.runs.presets import CONVNET
from paper_repro.core.runs.transfer_cells import CONVNET_NTK
from paper_repro.core.sets.catalogue import read_catalogue, read_set
from paper_repro.core.store.row_schema import config_hash
from paper_repro.core.store.rows import append_row, read_rows

ROOT = Path(__file__).parents[2]
SETS = json.loads((ROOT / "checkpoints/index.json").read_text())["sets"]
ARGUMENTS = ["--datasets", "dots", "--steps", "3", "--target-batch", "40"]


def run(*arguments, cwd):
    return command(distill.main, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A directory with a data set of bright dots at three places, distilled."""
    place = tmp_path_factory.mktemp("distill")
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    images = rng.integers(0, 120, (150, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 3, 2:5] += 130
    write_own(place / "data/dots.npz", images, labels, ("top", "middle", "low"))
    words = [sys.executable, "-m", "paper_repro.distill", *ARGUMENTS]
    words += ["--data-dir", "data", "--out", "out"]  # a real process, as the README has it
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def test_it_prints_each_method_beside_natural_images(finished):
    _, printed = finished
    for word in ("Natural", "LS", "KIP (l)", "3 steps, target batch 40", "ConvNet NTK"):
        assert word in printed
    assert "python -m release build --checkpoints out/checkpoints --data-dir data" in printed


def test_a_finished_run_goes_on(finished, tmp_path):
    """The longer run has the log of the shorter one, its seconds too."""
    place, _ = finished
    words = ["--datasets", "dots", "--methods", "KIP", "--architectures", "FC1"]
    words += ["--target-batch", "40", "--data-dir", place / "data", "--out", tmp_path]
    for more in (["--steps", "6"], ["--steps", "9", "--restart-at", "6"]):
        done = run(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "restart at 6" in done.stdout
    assert "goes on from the finished one of 6 steps" in done.stderr
    rows = {r["config"]["steps"]: r for r in read_rows(tmp_path / "distill.jsonl") if r["step"]}
    logs = {
        steps: (tmp_path / "runs" / f"{row['config_hash']}-seed0/metrics.jsonl").read_text()
        for steps, row in rows.items()
    }
    assert logs[9].startswith(logs[6]) and len(logs[9]) > len(logs[6])
    refused = run(*words, "--restart-at", "6", cwd=tmp_path)
    assert refused.returncode == 2 and "--restart-at needs --steps" in refused.stderr


def test_gray_images_are_standardised_and_the_sets_are_exported(finished):
    place, _ = finished
    names = {learned.name for learned in read_catalogue(place / "out/checkpoints")}
    rows = read_rows(place / "out/distill.jsonl", smoke=True)
    assert [row["method"] for row in rows][:3] == ["Natural", "LS", "KIP (l)"]
    assert names >= {"dots-convnet-ipc1-standard-learned-noaug", "dots-convnet-ipc1-standard-ls"}


def test_the_recorded_command_is_the_same_run(finished):
    place, _ = finished
    before = (place / "out/distill.jsonl").read_bytes()
    for learned in read_catalogue(place / "out/checkpoints"):
        words = shlex.split(learned.record["command"])
        assert words[:3] == ["python", "-m", "paper_repro.distill"]
        assert words[-2:] == ["--data-dir", "DIRECTORY"]
        done = run(*words[3:-1], "data", "--out", "out", cwd=place)
        assert done.returncode == 0, done.stderr
    assert (place / "out/distill.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--methods", "LS", "--minutes", "0.01", "--architectures", "FC1", "--kernel", "NNGP"],
        ["--methods", "KIP (l)", *ARGUMENTS[2:], "--initial", "noise"],
        ["--methods", "KIP", *ARGUMENTS[2:], "--architectures", "RBF", "--learn-scale"],
    ],
)
def test_the_command_of_a_run_with_options_is_the_same_run(words, finished, tmp_path):
    place, _ = finished
    shared = ["--datasets", "dots", "--data-dir", place / "data", "--out", tmp_path]
    done = run(*shared, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = tmp_path / "distill.jsonl"
    made = read_rows(rows)[-1]
    before = rows.read_bytes()
    again = shlex.split(command_of(made, cell_of(made["config"])))[3:-2]
    done = run(*again, *shared[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows.read_bytes() == before


def test_a_seed_that_is_given_twice_is_run_once(finished, tmp_path):
    place, _ = finished
    shared = ["--datasets", "dots", "--data-dir", place / "data", "--methods", "LS"]
    done = run(*shared, "--architectures", "FC1", "--seeds", 1, 1, "--out", tmp_path, cwd=place)
    assert done.returncode == 0, done.stderr
    assert [row["seed"] for row in read_rows(tmp_path / "distill.jsonl")] == [1, 1]
    assert {row["method"] for row in read_rows(tmp_path / "distill.jsonl")} == {"Natural", "LS"}


def test_the_export_becomes_a_release(finished, monkeypatch):
    place, _ = finished
    monkeypatch.chdir(place)
    names = release.build("mine", checkpoints="out/checkpoints", data_dir=place / "data")
    release.verify("mine", checkpoints="out/checkpoints")
    assert "license: other\n" in (place / "mine/README.md").read_text()
    found = release.load(names[0], source="mine")
    assert found.class_names == ("top", "middle", "low")


@pytest.mark.parametrize("name", SETS)
def test_the_command_of_a_committed_set_is_its_run(name, monkeypatch):
    """Hashes of the records were written by the runs, through the tables' own cells."""
    record = read_set(ROOT / "checkpoints", name).record
    words = shlex.split(record["command"])
    assert words[:3] == ["python", "-m", "paper_repro.distill"]
    asked = []

    def collect(table, cells, seeds, options):
        made = [cell.learning_cell for cell in cells]
        asked.extend((cell.config_hash, seed) for cell in (*cells, *made) for seed in seeds)
        raise UserError("enough")

    monkeypatch.setattr(distill, "run_cells", collect)
    with pytest.raises(SystemExit):
        cli.run(distill.main, words[3:])
    assert (record["config_hash"], record["seed"]) in asked


def test_every_method_is_another_cell():
    cells = [
        distilling_cell(method, "mnist", 1, CONVNET_NTK, CONVNET["laptop"])
        for method in ("LS", *KIP.variants)
    ]
    assert len({cell.config_hash for cell in cells}) == len(KIP.variants) + 1 == 5


def test_runs_on_a_part_of_the_images_are_no_other_images(finished, tmp_path):
    place, _ = finished
    row = read_rows(place / "out/distill.jsonl")[0]
    whole = {**row, "table": "figure_kernels", "data_sha256": "0" * 64}
    config = {**row["config"], "n_test": 9}
    part = {**whole, "config": config, "config_hash": config_hash(config)}
    append_row(tmp_path / "figure_kernels.jsonl", part)
    shared = ["--datasets", "dots", "--data-dir", place / "data", "--out", tmp_path]
    done = run(*shared, "--methods", "LS", "--architectures", "FC1", cwd=place)
    assert done.returncode == 0, done.stderr
    append_row(tmp_path / "figure_kernels.jsonl", whole)
    done = run(*shared, "--methods", "LS", "--architectures", "FC1", cwd=place)
    assert done.returncode == 2 and "other images called dots" in done.stderr


@pytest.mark.parametrize(
    ("preset", "of_any_table"), [("laptop", False), ("laptop", True), ("smoke", False)]
)
def test_other_images_of_the_same_name_are_refused(finished, tmp_path, preset, of_any_table):
    place, _ = finished
    words = ["--datasets", "dots", "--methods", "LS", "--preset", preset, "--out", tmp_path / "out"]
    words += ["--architectures", "FC1"]
    assert run(*words, "--data-dir", place / "data", cwd=place).returncode == 0
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (150, 8, 8, 1), dtype=np.uint8)
    write_own(tmp_path / "dots.npz", images, np.arange(150) % 3)
    if of_any_table:
        np.savez(tmp_path / "set.npz", images=images[:3], labels=np.arange(3))
        words = ["--npz", "set.npz", "--datasets", "dots", "--preprocess", "standard"]
        words += ["--preset", preset, "--width", "4", "--out", tmp_path / "out"]
        done = command(table2_transfer.main, *words, "--data-dir", tmp_path, cwd=tmp_path)
    else:
        done = run(*words, "--data-dir", tmp_path, cwd=place)
    assert done.returncode == 2
    assert "holds runs on other images called dots" in done.stderr


def test_a_second_data_set_joins_the_export_and_needs_not_the_first(finished, tmp_path):
    place, _ = finished
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    write_own(tmp_path / "noise.npz", images, np.arange(60) % 2)
    arguments = ["--datasets", "noise", "--methods", "LS", "--architectures", "fc1"]
    arguments += ["--kernel", "NNGP", "--seeds", "4", "--data-dir", tmp_path, "--out", "out"]
    done = run(*arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    names = [learned.name for learned in read_catalogue(place / "out/checkpoints")]
    assert "noise-fc1-ipc1-zca-ls-nngp" in names
    assert "dots-convnet-ipc1-standard-ls" in names
    assert {row["architecture"] for row in read_rows(place / "out/distill.jsonl", smoke=True)} >= {
        "FC1"
    }


def test_a_set_that_networks_score_is_exported_with_what_the_kernel_gives(finished, tmp_path):
    pytest.importorskip("torch")
    words = ["--datasets", "dots", "--methods", "DC", "--architectures", "ConvNet", "FC1"]
    words += ["--minutes", "0.03", "--data-dir", "data", "--out", tmp_path]
    done = run(*words, cwd=finished[0])
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "distill.jsonl")
    # DC asks no kernel: it runs once, whatever the kernels of the others.
    assert [r["algorithm"] for r in rows if r["method"] == "DC"] == ["NN", "KRR"]
    assert "networks, ConvNet" in done.stdout
    (learned,) = read_catalogue(tmp_path / "checkpoints")
    assert learned.name == "dots-convnet-ipc1-standard-dc"
    (krr,) = [r for r in rows if r["method"] == "DC" and r["algorithm"] == "KRR"]
    assert learned.record["metrics"]["test_accuracy"] == krr["test_accuracy"]
    assert "paper_repro.distill" in learned.record["command"]


def test_a_kernel_with_a_learned_scale_and_a_start_from_noise(finished, tmp_path):
    place, _ = finished
    arguments = ["--datasets", "dots", "--steps", "2", "--data-dir", "data", "--out", tmp_path]
    arguments += ["--architectures", "rbf", "--methods", "KIP", "--initial", "noise"]
    done = run(*arguments, "--learn-scale", "--scale", "0.5", cwd=place)
    assert done.returncode == 0, done.stderr
    natural, kip = read_rows(tmp_path / "distill.jsonl")
    assert "learn_scale" not in natural["config"] and natural["config"]["scale"] == 0.5
    assert (kip["config"]["learn_scale"], kip["config"]["initial"]) == (True, "noise")
    assert kip["parameters"]["scale"] not in (0.5, 1.0)
    assert "KIP" in done.stdout and "RBF RBF" in done.stdout
    assert not (tmp_path / "checkpoints").exists()  # such sets have no names to release them by


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets"], "--datasets needs at least one value"),
        (["--datasets", "mine", "--methods"], "--methods needs at least one value"),
        (["--datasets", "mine", "--ipc"], "--ipc needs at least one value"),
        (["--datasets", "mine", "--kernel", "RBF"], "invalid choice 'RBF' for argument '--kernel'"),
        (["--datasets", "mine", "--scale", "2"], "ConvNet has no scale: only RBF and Laplace do"),
        (
            ["--datasets", "mine", "--architectures", "RBF", "--learn-scale"],
            "LS cannot learn a scale",
        ),
        (["--datasets", "mine", "--steps", "-1"], "steps must be at least"),
        (["--datasets", "dots"], "unknown data set 'dots'"),
        (["--datasets", "mine", "--methods", "DX"], "unknown method 'DX'"),
        (["--datasets", "mine", "--architectures", "ResNet"], "ResNet"),
        (
            ["--datasets", "mine", "--preprocess", "pca"],
            "invalid choice 'pca' for argument '--preproc",
        ),
        (
            ["--datasets", "mine", "--ipc", "1", "99"],
            "images per class must be between 1 and 16, not 99: the smallest class has 16 of the "
            "48 training images",
        ),
        (
            # The cells without a validation split come first, and would be run.
            ["--datasets", "mine", "--preset", "paper", "--ipc", "16"],
            "not 16: the smallest class has 14 of the 44 training images of mine that KIP (l) "
            "draws from (all but those held out for validation)",
        ),
        (["--datasets", "mine", "--seeds", "-1"], "seeds must not be negative"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    write_own(tmp_path / "mine.npz", images, np.arange(60) % 3)
    done = run(*arguments, "--data-dir", tmp_path, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not list((tmp_path / "out").glob("*.jsonl"))
