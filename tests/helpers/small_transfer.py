"""Learned sets and a transfer run on the small data set: made in seconds, stopped and resumed.

python small_transfer.py --out DIR --data-dir DIR --steps 3000
"""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import small_table

from paper_repro.core import cli
from paper_repro.core.data import load_dataset
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.random_draw import RandomConfig
from paper_repro.core.preprocess import fitted
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.runs.scorers import FiniteNetwork
from paper_repro.core.runs.transfer_cells import CONVNET_NTK, NATURAL_TO_NN
from paper_repro.core.sets import catalogue
from paper_repro.core.sets.catalogue import series_file
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.record import as_json, complete
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.store.rows import run_directory

SCRIPT = "small_transfer"


def write_sets(directory: Path, data_dir: Path) -> Path:
    """KIP with fixed and with learned labels, each with two earlier steps, and LS; ConvNet, ipc 2.

    The "learned" images are noisy training images, the noise falling from step to step.
    """
    data = load_dataset("small", data_dir)
    rows = np.concatenate([np.flatnonzero(data.y_train == c)[:2] for c in range(3)])
    transform = fitted(data, "standard")
    x = transform.apply(data.x_train[rows])
    y = centred_one_hot(data.y_train[rows], 3).astype(np.float32)
    rng = np.random.default_rng(0)
    names = []
    for kind in ("fixed-noaug", "learned-noaug", "ls"):
        name = f"small-convnet-ipc2-standard-{kind}"
        place = directory / name
        learned = kind != "fixed-noaug"
        labels = y * (1 + 0.1 * rng.standard_normal(y.shape, np.float32)) if learned else y
        series = []
        for step in () if kind == "ls" else (0, 1):
            noisy = x + (2 - step) * rng.standard_normal(x.shape, np.float32)
            path = place / series_file(step)
            checkpoint.save(path, {"images": noisy, "labels": labels}, {})
            entry = {"step": step, "sha256": sha256_of_file(path)}
            series.append({**entry, "metrics": {"test_accuracy": 0.5, "test_mse": 0.1}})
        checkpoint.save(place / catalogue.SUPPORT, {"images": x, "labels": labels}, {})
        cell = _cell_of_set(kind)
        facts = {k: v for k, v in cell.row_fields.items() if k != "algorithm"}
        facts |= {
            "name": name,
            "title": data.title,
            "class_names": list(data.class_names),
            "n_classes": data.n_classes,
            "diag_reg": cell.config.diag_reg,
            "data_sha256": data.data_sha256,
            "transform_sha256": digest(transform),
            "command": "made by a test",
            "step": None if kind == "ls" else 2,
            "preset": "laptop",
            "budget": {"reduced": False} if kind == "ls" else {"steps": 2, "target_batch": 40},
            "config": cell.recorded,
            "config_hash": cell.config_hash,
            "metrics": {"test_accuracy": 0.625, "test_mse": 0.1, "n_test": 90},
            "series": series,
            "file_sha256": sha256_of_file(place / catalogue.SUPPORT),
        }
        (place / catalogue.RECORD).write_text(as_json(complete(facts)))
        names.append(name)
    (directory / catalogue.INDEX).write_text(json.dumps({"format": 1, "sets": names}))
    return directory


def _cell_of_set(kind: str) -> Cell:
    if kind == "ls":
        return distilling_cell("LS", "small", 2, CONVNET_NTK)
    learned = kind.startswith("learned")
    config = KIPConfig(2, steps=2, learn_labels=learned)
    return Cell("small", "KIP (l)" if learned else "KIP", config, CONVNET_NTK)


def cell(steps: int, **network) -> Cell:
    """FC1 on natural images, two points of a grid."""
    settings = {"width": 16, "steps": steps, "learning_rate_factor": (0.1, 0.2)}
    settings |= {"l2": (1e-3,), "label_scale": (4.0,), **network}
    return Cell("small", NATURAL_TO_NN, RandomConfig(4), KernelSpec("FC1"), FiniteNetwork(settings))


def run_of(out: Path, steps: int) -> Path:
    return run_directory(out, cell(steps).config_hash, seed=0)


def main(out: Path, data_dir: Path, steps: int = 3_000) -> None:
    """Train the natural cell, its state kept after every compiled call.

    Args:
        out: where to.
        data_dir: where `small.npz` is.
        steps: of each network.
    """
    with mock.patch.object(checkpoint, "SECONDS", 0.0):
        run_cells(SCRIPT, [cell(steps)], [0], RunOptions("smoke", out=out, data_dir=data_dir))


def small_data(directory: Path) -> Path:
    """`small.npz`, as `small_table` writes it."""
    return small_table.write_data(directory)


def learned_sets(checkpoints: Path) -> list[LearnedSet]:
    """What `write_sets` wrote."""
    return catalogue.read_catalogue(checkpoints)


if __name__ == "__main__":
    cli.run(main)
