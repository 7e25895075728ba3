"""A small data set of its own and checkpoints of it as the exporter writes them.

Four sets of 8x8 images in four classes: ZCA and standard, learned and fixed labels, one and three
images per class. Their stated scores are real. The release of them is built once a worker, see
`conftest`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import release
from paper_repro.core.data import load_dataset
from paper_repro.core.data.npz import write_npz
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import fitted
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.record import as_json, complete
from paper_repro.core.sets.scoring import score_by_record
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_file
from release.format.manifest import make_manifest, write_manifest
from release.format.publication import REPOSITORY

N_CLASSES, SHAPE, N_TEST = 4, (8, 8, 3), 200
SETS = {
    "tiny-fc1-ipc1-zca-learned-noaug": (1, True, True),
    "tiny-fc1-ipc3-zca-fixed-noaug": (3, True, False),
    "tiny-fc1-ipc1-standard-fixed-noaug": (1, False, False),
    "tiny-fc1-ipc3-standard-learned-noaug": (3, False, True),
}
LEARNED, FIXED = "tiny-fc1-ipc1-zca-learned-noaug", "tiny-fc1-ipc1-standard-fixed-noaug"


@dataclasses.dataclass(frozen=True)
class Made:
    """Folders that tests copy and never change."""

    checkpoints: Path
    data_dir: Path
    folder: Path


def listed_again(folder: Path) -> Path:
    """Write the manifest of what is there now: the damage is no longer a wrong checksum."""
    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder, make_manifest(folder, "v1.0.0", REPOSITORY))
    return folder


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1) + "\n")


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make(root: Path) -> Made:
    """The data set, its checkpoints and the release of them."""
    made = Made(root / "checkpoints", root / "data", root / "release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIP_CACHE_DIR", str(root / "cache"))
        write_npz(made.data_dir / "tiny.npz", _raw(np.random.default_rng(0)))
        for name, (per_class, zca, learned) in SETS.items():
            write_set(made.checkpoints, made.data_dir, name, per_class, zca, learned)
        write_index(made.checkpoints, list(SETS))
        release.build(made.folder, checkpoints=made.checkpoints, data_dir=made.data_dir)
    return made


def _raw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Noisy images around one pattern a class, so that a few images teach something."""
    patterns = rng.integers(40, 216, (N_CLASSES, *SHAPE))
    arrays = {"class_names": np.array(["an apple", "a <b>", "c|d", "é"])}
    for split, n in (("train", 400), ("test", N_TEST)):
        y = rng.permutation(np.arange(n) % N_CLASSES)
        noise = rng.normal(0, 60, (n, *SHAPE))
        arrays[f"x_{split}"] = np.clip(patterns[y] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{split}"] = y.astype(np.uint8)
    return arrays


def write_index(directory: Path, names: list[str]) -> None:
    (directory / "index.json").write_text(json.dumps({"format": 1, "sets": names}))


def write_set(directory, data_dir, name, per_class, zca, learned, dataset="tiny", scored=True):
    """One set folder: natural images moved a little, labels moved a little where learned."""
    data = load_dataset(dataset, data_dir)
    transform = fitted(data, "zca" if zca else "standard")
    rng = np.random.default_rng(per_class)
    rows = np.concatenate(
        [np.flatnonzero(data.y_train == c)[:per_class] for c in range(data.n_classes)]
    )
    classes = data.y_train[rows]
    images = transform.apply(data.x_train[rows])
    images = (images + 0.02 * images.std() * rng.normal(size=images.shape)).astype(np.float32)
    labels = centred_one_hot(classes, data.n_classes)
    if learned:
        labels = labels + 0.05 * rng.normal(size=labels.shape)
    labels = labels.astype(np.float32)
    support = directory / name / "support.safetensors"
    checkpoint.save(support, {"images": images, "labels": labels}, {"step": "7"})
    facts = {
        "name": name,
        "dataset": dataset,
        "title": data.title,
        "class_names": list(data.class_names),
        "method": "KIP (l)" if learned else "KIP",
        "architecture": "FC1",
        "kernel": "NTK",
        "images_per_class": per_class,
        "n_classes": data.n_classes,
        "zca": zca,
        "learned_labels": learned,
        "augmentation": False,
        "diag_reg": 1e-6,
        "step": 7,
        "seed": 0,
        "preset": "laptop",
        "budget": {"steps": 7, "reduced": True},
        "config": {"dataset": dataset},
        "config_hash": "0123456789abcdef",
        "data_sha256": data.data_sha256,
        "transform_sha256": digest(transform),
        "file_sha256": sha256_of_file(support),
        "seconds": 1.5,
        "versions": {"numpy": np.__version__},
        "hardware": {"cpu": "a CPU", "cores": 2, "gpu": None},
        "git": {"revision": "0" * 40, "dirty": False},
        "started": "2026-01-02T03:04:05+00:00",
        "command": f"python -m paper_repro.table1_comparison --datasets {dataset}",
    }
    metrics = {"test_accuracy": 0.5, "test_mse": 0.02, "n_test": 10_000}
    if scored:
        found = score_by_record(LearnedSet.of(images, labels, facts), transform, data)
        metrics = {"test_accuracy": found.accuracy, "test_mse": found.mse, "n_test": found.n}
    record = complete({**facts, "metrics": metrics})
    (directory / name / "record.json").write_text(as_json(record))
