"""The learned sets of a `checkpoints/` directory: what is there, and reading it with checks.

One folder a set, named like its release configuration (`cifar10-convnet-ipc1-zca-learned-noaug`):
`support.safetensors` (tensors `images`, `labels`), `record.json` (what it is and how to make it
again), `series/step_000054.safetensors` (earlier official steps, where they are kept) and
pictures. `index.json` lists the folders.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_file

INDEX = "index.json"
RECORD = "record.json"
SUPPORT = "support.safetensors"
SERIES = "series"
FORMAT = 1

RECORD_FIELDS = (
    "format",
    "name",
    "dataset",
    "title",
    "class_names",
    "method",
    "architecture",
    "kernel",
    "images_per_class",
    "n_classes",
    "zca",
    "learned_labels",
    "augmentation",
    "diag_reg",
    "step",
    "seed",
    "preset",
    "budget",
    "metrics",
    "config",
    "config_hash",
    "data_sha256",
    "transform_sha256",
    "file_sha256",
    "series",
    "seconds",
    "versions",
    "hardware",
    "git",
    "started",
    "command",
)
"""What every record has. `metrics` holds test_accuracy (a fraction), test_mse and n_test."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,95}")


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedSet:
    """One learned set with its provenance.

    Attributes:
      name: of the folder and of the release configuration.
      directory: that holds it.
      record: `record.json`, see `RECORD_FIELDS`.
    """

    name: str
    directory: Path
    record: Mapping[str, Any]

    def tensors(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, float32 (n, H, W, C), as the kernel consumes them, and labels (n, K).

        Raises:
          UserError: the file is missing, damaged, or not the one the record names.
        """
        return self._read(SUPPORT, self.record["file_sha256"])

    @property
    def steps(self) -> list[int]:
        """The official steps whose supports are kept, in order, without the final one."""
        return [entry["step"] for entry in self.record["series"]]

    def at_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """As `tensors`, at an earlier step of the series.

        Raises:
          UserError: no such step is kept, or the file is damaged.
        """
        for entry in self.record["series"]:
            if entry["step"] == step:
                return self._read(series_file(step), entry["sha256"])
        raise UserError(f"{self.name} keeps no step {step}: choose from {self.steps}")

    def _read(self, name: str, sha256: str) -> tuple[np.ndarray, np.ndarray]:
        path = self.directory / name
        found = checkpoint.load(path).tensors
        if sha256_of_file(path) != sha256:
            raise UserError(f"{path} is not the file its record names: restore or export it again")
        return found["images"], found["labels"]


def set_name(cell: Cell) -> str:
    """What a cell learns, as `cifar10-convnet-ipc10-zca-learned-noaug`; LS ends in `-ls`.

    A kernel other than the NTK is named at the end: `mnist-fc1-ipc1-standard-ls-nngp`.
    """
    parts = [cell.dataset, cell.architecture, f"ipc{cell.images_per_class}"]
    parts += ["zca" if cell.zca else "standard"]
    if cell.procedure == "label_solve":
        parts += ["ls"]
    else:
        parts += ["learned" if cell.learned_labels else "fixed"]
        parts += ["aug" if cell.augmentation else "noaug"]
    if cell.kernel != "NTK":
        parts += [cell.kernel]
    return "-".join(parts).lower()


def series_file(step: int) -> str:
    """Where the support of an earlier step stands, relative to the set's folder."""
    return f"{SERIES}/step_{step:06d}.safetensors"


def read_catalogue(directory: Path) -> list[LearnedSet]:
    """All sets that `directory/index.json` lists, in its order.

    Raises:
      UserError: no such directory or index, a listed folder without a readable record, or a name
        that is not one plain folder name.
    """
    missing = f"{directory} is not a checkpoints directory: it has no {INDEX}"
    index = _json(directory / INDEX, missing)
    names = index.get("sets") if isinstance(index, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{directory / INDEX} must be an object with a list of names, `sets`")
    return [read_set(directory, name) for name in names]


def read_set(directory: Path, name: str) -> LearnedSet:
    """The set `name` of a checkpoints directory.

    Raises:
      UserError: see `read_catalogue`.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is not the name of a learned set: {_NAME.pattern}")
    record = _json(directory / name / RECORD, f"no learned set {name!r} in {directory}")
    if not isinstance(record, dict) or record.get("name") != name:
        raise UserError(f"{directory / name / RECORD} is not the record of {name!r}")
    if record.get("format") != FORMAT:
        raise UserError(f"{directory / name / RECORD} has format {record.get('format')!r}, not 1")
    if missing := [field for field in RECORD_FIELDS if field not in record]:
        raise UserError(f"{directory / name / RECORD} lacks {', '.join(missing)}: export it again")
    return LearnedSet(name, directory / name, record)


def _json(path: Path, missing: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(missing) from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore or export it again") from error
