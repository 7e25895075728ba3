"""`paper_repro.distill`: a data set of one's own, from arrays to a release, in real processes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

import release
from paper_repro import distill, table1_comparison
from paper_repro.core.catalogue import read_catalogue
from paper_repro.core.data import write_own
from paper_repro.core.experiment.methods import KIP_METHODS, LABEL_SOLVE, distilling_cell
from paper_repro.core.results import read_rows

ARGUMENTS = ["--datasets", "dots", "--steps", "3", "--target-batch", "40"]


def run(*arguments, cwd):
    command = [sys.executable, "-m", "paper_repro.distill", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)


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
    done = run(*ARGUMENTS, "--data-dir", "data", "--out", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def test_it_prints_each_method_beside_natural_images(finished):
    _, printed = finished
    for word in ("Natural", "LS", "KIP (l)", "3 steps, target batch 40", "ConvNet NTK"):
        assert word in printed
    assert "python -m release build --checkpoints out/checkpoints --data-dir data" in printed


def test_gray_images_are_standardised_and_the_sets_are_exported(finished):
    place, _ = finished
    names = {learned.name for learned in read_catalogue(place / "out/checkpoints")}
    assert names == {"dots-convnet-ipc1-standard-learned-noaug", "dots-convnet-ipc1-standard-ls"}


def test_the_recorded_command_is_the_same_run(finished):
    place, _ = finished
    before = (place / "out/distill.jsonl").read_bytes()
    for learned in read_catalogue(place / "out/checkpoints"):
        words = shlex.split(learned.record["command"])
        assert words[:3] == ["python", "-m", "paper_repro.distill"]
        done = run(*words[3:], "--data-dir", "data", "--out", "out", cwd=place)
        assert done.returncode == 0, done.stderr
    assert (place / "out/distill.jsonl").read_bytes() == before


def test_the_export_becomes_a_release(finished, monkeypatch):
    place, _ = finished
    monkeypatch.chdir(place)
    names = release.build("mine", checkpoints="out/checkpoints", data_dir=place / "data")
    release.verify("mine", checkpoints="out/checkpoints")
    found = release.load(names[0], source="mine")
    assert found.class_names == ("top", "middle", "low")


def test_cells_of_a_table_are_the_same_runs():
    budget = table1_comparison.PRESETS["laptop"]
    in_table = {cell.config_hash for cell in table1_comparison.cells(budget)}
    for method in (LABEL_SOLVE, "KIP (l)", "KIP (a + l)"):
        assert distilling_cell(method, "cifar10", 10, budget, zca=True).config_hash in in_table
    hashes = {distilling_cell(m, "mnist", 1, budget, zca=False).config_hash for m in KIP_METHODS}
    assert len(hashes) == len(KIP_METHODS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets"], "name a data set"),
        (["--datasets", "dots"], "unknown data set 'dots'"),
        (["--datasets", "mine", "--methods", "DSA"], "unknown method 'DSA'"),
        (["--datasets", "mine", "--architectures", "ResNet"], "ResNet"),
        (["--datasets", "mine", "--preprocess", "pca"], "unknown preprocessing 'pca'"),
        (["--datasets", "mine", "--ipc", "99"], "images per class must be between 1 and"),
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


def test_rows_say_which_command_made_them(finished):
    place, _ = finished
    rows = read_rows(place / "out/distill.jsonl")
    assert [row["method"] for row in rows] == ["Natural", "LS", "KIP (l)"]
    assert {row["table"] for row in rows} == {distill.COMMAND}
    assert json.loads(json.dumps(rows)) == rows
