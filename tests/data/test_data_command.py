"""`python -m paper_repro.core.data`, the real sets, and what the package promises at the door."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import make_arrays

from paper_repro.core import data
from paper_repro.core.data import load_dataset
from paper_repro.core.data.npz import write_npz
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.errors import UserError

NO_NETWORK = {"HF_ENDPOINT": "http://127.0.0.1:9", "npm_config_registry": "http://127.0.0.1:9"}


def command(*args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "paper_repro.core.data", *args],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_prints_source_shapes_and_digests(tmp_path, empty_cache):
    write_npz(tmp_path / "mine.npz", make_arrays())
    done = command("mine", "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine: local file mine.npz\n  x_train  (50, 6, 5, 3)")
    assert len(re.findall(r"\b[0-9a-f]{64}\b", done.stdout)) == 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nope",), "unknown data set 'nope': choose from mnist"),
        ((), "name at least one data set"),
        (("svhn",), "cannot get SVHN"),
        (("cifar10",), "cannot get CIFAR-10"),
        (("mnist", "--data-dir", "/nonexistent"), "/nonexistent is not a directory"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(empty_cache, args, message):
    done = command(*args, **NO_NETWORK)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_corrupted_cache_file_is_named(empty_cache):
    path = empty_cache / "data" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 torn")
    done = command("mnist", **NO_NETWORK)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: damaged cache file, delete {path} and run again")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_real_sets(name):
    try:
        dataset = load_dataset(DATASETS[name].title)
    except UserError as error:
        if str(error).startswith("cannot get"):
            pytest.skip(str(error))
        raise
    assert dataset.name == name
    assert dataset.array_sha256 == DATASETS[name].sha256
    assert (len(dataset.x_fit), len(dataset.x_val)) == (len(dataset.x_train) - 5000, 5000)
    assert dataset.n_classes == 10
    if name == "cifar10":
        assert dataset.class_names[dataset.y_train[0]] == "frog"
        assert np.bincount(dataset.y_train).tolist() == [5000] * 10
        means = dataset.x_train.mean((0, 1, 2)) / 255
        assert np.allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)


@pytest.mark.parametrize("name", ["cifar100", "svhn_mini"])
def test_sets_in_the_data_directory(name):
    directory = os.environ.get("KIP_MORE_DATA")
    if not directory or not (Path(directory) / f"{name}.npz").is_file():
        pytest.skip(f"KIP_MORE_DATA names no directory with {name}.npz")
    dataset = load_dataset(name, directory)
    assert dataset.image_shape == (32, 32, 3)
    if name == "cifar100":
        assert dataset.array_sha256 == DATASETS[name].sha256
        assert (dataset.n_classes, dataset.class_names[dataset.y_train[0]]) == (100, "cattle")
    else:
        assert dataset.n_validation == 108


def test_the_import_loads_nothing_heavy():
    code = (
        "import sys, paper_repro.core.data; print(sorted({'datasets', 'huggingface_hub', 'pyarrow',"
        " 'PIL', 'rich', 'jax', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_no_registry_host_is_named():
    for path in Path(data.__file__).parent.glob("*.py"):
        assert not re.search(r"\b[\w-]+\.(org|com|io|co|net)\b", path.read_text()), path.name
