"""The record of a released set: which fields it has, and that their values make sense.

A record is the `record.json` of a `checkpoints/` folder (`catalogue.RECORD_FIELDS`) with one
more field, `release`, that a build adds: the transform that is shipped with the set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.data.own import DATASET_NAME
from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import FORMAT, RECORD_FIELDS
from paper_repro.core.store.row_schema import Field
from release.layout import KINDS, is_name

TEXT = Field((str,))
OPTIONAL_TEXT = Field((str,), nullable=True)
FLAG = Field((bool,))
OBJECT = Field((dict,))
OPTIONAL_OBJECT = Field((dict,), nullable=True)

FIELDS: dict[str, Field] = {
    "dataset": TEXT,
    "title": TEXT,
    "class_names": Field((list,)),
    "method": TEXT,
    "architecture": TEXT,
    "kernel": TEXT,
    "images_per_class": Field((int,), low=1, high=10_000),
    "n_classes": Field((int,), low=2, high=10_000),
    "zca": FLAG,
    "learned_labels": FLAG,
    "augmentation": FLAG,
    "diag_reg": Field((float, int), low=0, high=1),
    "step": Field((int,), nullable=True, low=0),
    "seed": Field((int,), nullable=True, low=0),
    "preset": OPTIONAL_TEXT,
    "budget": OBJECT,
    "metrics": OBJECT,
    "config": OBJECT,
    "config_hash": OPTIONAL_TEXT,
    "data_sha256": TEXT,
    "transform_sha256": TEXT,
    "file_sha256": TEXT,
    "series": Field((list,)),
    "seconds": Field((float, int), nullable=True, low=0),
    "versions": OBJECT,
    "hardware": OPTIONAL_OBJECT,
    "git": OPTIONAL_OBJECT,
    "started": OPTIONAL_TEXT,
    "command": TEXT,
}

METRICS: dict[str, Field] = {
    "test_accuracy": Field((float, int), low=0, high=1),
    "test_mse": Field((float, int), low=0),
    "n_test": Field((int,), low=1),
}

RELEASE: dict[str, Field] = {
    "transform": TEXT,
    "transform_sha256": TEXT,
    "refitted": FLAG,
    "image_shape": Field((list,)),
}


def kind_of(record: Mapping[str, Any]) -> str:
    """The preprocessing of a set: `zca` or `standard`."""
    return KINDS[bool(record["zca"])]


def is_natural(record: Mapping[str, Any]) -> bool:
    """Whether the images are unchanged training images (Label Solve learns the labels alone)."""
    return record["method"] == "LS"


def is_given(record: Mapping[str, Any]) -> bool:
    """Whether the set came as arrays, so that nothing is known of the run that made it."""
    return record["preset"] is None


def check_record(record: Mapping[str, Any], where: str) -> None:
    """Refuse a record that lacks a field or whose values cannot be.

    Args:
      record: as read from JSON.
      where: its file, for the message.

    Raises:
      UserError: the first thing that is wrong.
    """
    _check_fields(record, FIELDS, where)
    if not is_name(record.get("name")):
        raise UserError(f"{where}: {record.get('name')!r} cannot name a set")
    if not DATASET_NAME.fullmatch(record["dataset"]):
        raise UserError(f"{where}: {record['dataset']!r} cannot name a data set")
    _check_fields(record["metrics"], METRICS, f"{where}: metrics")
    names = record["class_names"]
    if not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise UserError(f"{where}: class_names must be printable texts")
    if len(set(names)) != len(names) or len(names) != record["n_classes"]:
        raise UserError(
            f"{where}: {len(names)} class_names ({len(set(names))} distinct) for n_classes "
            f"{record['n_classes']}"
        )


def read_record(path: Path, name: str) -> dict[str, Any]:
    """The record of the set `name` in a release folder.

    Raises:
      UserError: it cannot be read, is another set's, or has a field missing or out of range.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): build the release again") from error
    if not isinstance(record, dict) or record.get("name") != name:
        raise UserError(f"{path} is not the record of {name!r}")
    if record.get("format") != FORMAT:
        raise UserError(f"{path} has format {record.get('format')!r}, not {FORMAT}")
    if missing := [key for key in (*RECORD_FIELDS, "release") if key not in record]:
        raise UserError(f"{path} lacks {', '.join(missing)}: build the release again")
    check_record(record, str(path))
    if not isinstance(record["release"], dict):
        raise UserError(f"{path}: release is not an object")
    _check_fields(record["release"], RELEASE, f"{path}: release")
    shape = record["release"]["image_shape"]
    if len(shape) != 3 or not all(type(side) is int and 0 < side <= 4096 for side in shape):
        raise UserError(f"{path}: image_shape {shape} is not (H, W, C)")
    return record


def _check_fields(record: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> None:
    for name, field in fields.items():
        if name not in record:
            raise UserError(f"{where} lacks {name}")
        value = record[name]
        problem = field.problem(value)
        if problem is None and isinstance(value, float) and not math.isfinite(value):
            problem = f"is {value}"
        if problem is None and isinstance(value, str) and not (value and value.isprintable()):
            problem = "is not a printable text"
        if problem is not None:
            raise UserError(f"{where}: {name} {problem}")
