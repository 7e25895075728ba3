"""The record of a released set: that of the learned set, and which transform is shipped with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.data.own import DATASET_NAME
from paper_repro.core.errors import UserError
from paper_repro.core.sets import record as records
from paper_repro.core.sets.record import FLAG, LIST, TEXT
from paper_repro.core.store.row_schema import Field
from release.format import layout

RELEASE: dict[str, Field] = {
    "transform": TEXT,
    "transform_sha256": TEXT,
    "refitted": FLAG,
    "image_shape": LIST,
}
"""Every field of `release`, which a build adds to the record of a learned set."""

STATED, ASSUMED = "stated", "assumed"
"""What is known of the transform of a set that was given as arrays, the field `origin` of
`release`: whoever gave the set said which it is, or nothing was said. Other sets have no such
field: they were made with the transform that their record names."""


def require_releasable(record: Mapping[str, Any], where: str) -> None:
    """Refuse a record that is wrong, or whose data set has a name that cannot be a file name.

    Args:
      record: the set's record.
      where: its file, for the message.

    Raises:
      UserError: the first thing that is wrong.
    """
    records.require_valid_record(record, where)
    if not DATASET_NAME.fullmatch(record["dataset"]):
        raise UserError(f"{where}: {record['dataset']!r} cannot name a data set")


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """The record of the set `name` in a release folder.

    Raises:
      UserError: it cannot be read, is another set's, or has a field missing or out of range.
    """
    path, repair = folder / layout.record(name), "build the release again"
    record = records.read_record(path, name, f"{path} is missing: {repair}", repair)
    require_releasable(record, str(path))
    if not isinstance(record.get("release"), dict):
        raise UserError(f"{path} lacks release, an object: {repair}")
    records.require_valid_fields(record["release"], RELEASE, f"{path}: release")
    kind = layout.kind_of(record["release"]["transform"], record["dataset"])
    if kind is None or record["release"].get("origin", STATED) not in (STATED, ASSUMED):
        raise UserError(f"{path}: the transform of release or its origin is not one: {repair}")
    shape = record["release"]["image_shape"]
    if len(shape) != 3 or not all(type(side) is int and 0 < side <= 4096 for side in shape):
        raise UserError(f"{path}: image_shape {shape} is not (H, W, C)")
    return record


def preprocessing_of(record: Mapping[str, Any]) -> str:
    """What the images of a released set went through: `zca`, `standard`, or a given name."""
    return layout.kind_of(record["release"]["transform"], record["dataset"])


def as_learned(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record that the set had before it was released."""
    return {name: value for name, value in record.items() if name != "release"}
