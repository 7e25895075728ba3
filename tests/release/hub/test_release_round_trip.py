"""From a learned set to its reader: the build and the push, then the card's code with
`datasets.load_dataset` and `release load`, each in its own process."""

import json
import subprocess
import sys

import numpy as np
import pytest

import release
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import save
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets import catalogue
from paper_repro.core.sets.record import FORMAT, as_json, complete
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_file
from release.card.check import snippets
from release.push import push

REPO = "tester/sets"
NAME = "mnist-fc1-ipc1-standard-ls"

SAVE = """
np.savez({out!r}, images=x_support, labels=y_support, applied=apply(fit["test_input"]))
"""

CROISSANT = """
import sys, mlcroissant, numpy as np
rows = mlcroissant.Dataset(jsonld=sys.argv[1]).records(sys.argv[2])
np.save(sys.argv[3], np.array([row[f"{sys.argv[2]}/soft_label"] for row in rows], np.float32))
"""


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=500
    )


@pytest.fixture
def learned(tmp_path):
    """A checkpoints directory with one set of ten 8x8 images, and its transform."""
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 256, (40, 8, 8, 1), np.uint8)
    transform = Standard.fit(raw)
    (tmp_path / "transforms").mkdir()
    save(transform, tmp_path / "transforms/mnist-standard.safetensors")
    images = transform.apply(raw[:10])
    labels = centred_one_hot(np.arange(10), 10).astype(np.float32)
    labels += generator.normal(scale=0.1, size=labels.shape).astype(np.float32)
    place = tmp_path / "checkpoints" / NAME
    checkpoint.save(place / catalogue.SUPPORT, {"images": images, "labels": labels}, {})
    facts = {
        "name": NAME,
        "dataset": "mnist",
        "title": "MNIST",
        "class_names": [str(number) for number in range(10)],
        "method": "LS",
        "architecture": "FC1",
        "kernel": "NTK",
        "images_per_class": 1,
        "n_classes": 10,
        "zca": False,
        "learned_labels": True,
        "augmentation": False,
        "diag_reg": 1e-6,
        "seed": 0,
        "preset": "laptop",
        "budget": {"n_targets": 40, "reduced": True},
        "metrics": {"test_accuracy": 0.5, "test_mse": 0.04, "n_test": 100},
        "config": {"procedure": "label_solve", "flat": 0.001},
        "config_hash": "0" * 16,
        "data_sha256": "0" * 64,
        "transform_sha256": digest(transform),
        "file_sha256": sha256_of_file(place / catalogue.SUPPORT),
        "seconds": 1.0,
        "versions": {"python": "3.11"},
        "command": "python -m paper_repro.table1_comparison --datasets mnist --ipc 1",
    }
    (place / catalogue.RECORD).write_text(as_json(complete(facts)))
    index = {"format": FORMAT, "sets": [NAME]}
    (place.parent / catalogue.INDEX).write_text(json.dumps(index))
    return images, labels


def test_a_learned_set_arrives_whole_and_damage_is_noticed(hub, tmp_path, learned, monkeypatch):
    images, labels = learned
    release.build(
        tmp_path / "release",
        checkpoints=tmp_path / "checkpoints",
        transforms=tmp_path / "transforms",
        repository=REPO,
        base_url=f"{hub.endpoint}/datasets/{REPO}/resolve/v1.0.0",
    )
    version = json.loads((tmp_path / "release/manifest.json").read_text())["version"]
    assert (
        push(tmp_path / "release", create=True, public=True, yes=True) == hub.repository(REPO).head
    )
    assert hub.repository(REPO).tags == {version: hub.repository(REPO).head}

    # The card's code as it stands there: the rows, then the transform.
    rows, transform, _ = snippets((tmp_path / "release/README.md").read_text())
    save_rows = SAVE.format(out=str(tmp_path / "rows.npz"))
    done = python("-c", f"{rows}\n{transform}\n{save_rows}")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "rows.npz") as found:
        assert found["images"].dtype == found["labels"].dtype == found["applied"].dtype == "float32"
        assert found["images"].shape == images.shape
        assert found["images"].tobytes() == images.tobytes()
        assert found["labels"].tobytes() == labels.tobytes()

    # Croissant, by its address; its readers have no token of the Hub.
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "croissant"))
    address = f"{hub.endpoint}/datasets/{REPO}/resolve/{version}/croissant.json"
    done = python("-c", CROISSANT, address, NAME, tmp_path / "croissant.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "croissant.npy").tobytes() == labels.tobytes()

    load = ("-m", "release", "load", NAME, "--source", REPO, "--revision", version)
    done = python(*load, "--npz", tmp_path / "loaded.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "loaded.npz") as loaded:
        assert loaded["images"].tobytes() == images.tobytes()
        assert loaded["labels"].tobytes() == labels.tobytes()

    hub.corrupt.add(f"npz/{NAME}.npz")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty-cache"))
    done = python(*load)
    assert done.returncode == 2, done.stdout
    assert f"npz/{NAME}.npz has changed" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
