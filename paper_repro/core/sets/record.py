"""The record of a learned set: its fields with their types and ranges, read with checks.

`record.json` in a set's folder of `checkpoints/` is one; a release adds a field, `release`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.sets.naming import PREPROCESSING, is_name
from paper_repro.core.store.row_schema import ROW_FIELDS, Field

FORMAT = 1

TEXT = Field((str,))
OPTIONAL_TEXT = Field((str,), nullable=True)
FLAG = Field((bool,))
OBJECT = Field((dict,))
OPTIONAL_OBJECT = Field((dict,), nullable=True)
LIST = Field((list,))

FIELDS: dict[str, Field] = {
    "format": Field((int,), low=FORMAT, high=FORMAT),
    "name": TEXT,
    "dataset": TEXT,
    "title": TEXT,
    "class_names": LIST,
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
    "series": LIST,
    "seconds": Field((float, int), nullable=True, low=0),
    "versions": OBJECT,
    "hardware": OPTIONAL_OBJECT,
    "git": OPTIONAL_OBJECT,
    "started": OPTIONAL_TEXT,
    "command": TEXT,
}
"""Every field of a record. What is null is not known, as of a set that was given as arrays."""

METRICS: dict[str, Field] = {
    "test_accuracy": Field((float, int), low=0, high=1),
    "test_mse": Field((float, int), low=0),
    "n_test": Field((int,), low=1),
}
"""Every field of `metrics`; the accuracy is a fraction, the MSE has the factor 0.5."""

STEP: dict[str, Field] = {"step": Field((int,), low=0), "sha256": TEXT, "metrics": OBJECT}
"""Every field of an entry of `series`, an earlier step whose arrays are kept.

Its metrics are test_accuracy and test_mse where they were measured, and seconds since the start.
"""

FROM_ROW = tuple(name for name in FIELDS if name in ROW_FIELDS)
"""The fields that a record takes from the result row of its run as they are."""


def complete(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `facts` in the order of `FIELDS`, with what is not known left empty.

    Empty is null, or an empty object or list. `metrics` is never made up: a set that is not
    scored yet has none.

    Raises:
      UserError: `facts` has a field that no record has, or lacks one that cannot be empty.
    """
    if strange := [name for name in facts if name not in FIELDS]:
        raise UserError(f"a record has no field {strange[0]!r}")
    record = {}
    for name, field in FIELDS.items():
        if name in facts:
            record[name] = facts[name]
        elif name == "format":
            record[name] = FORMAT
        elif field.nullable:
            record[name] = None
        elif name != "metrics" and field.types[0] in (dict, list):
            record[name] = field.types[0]()
        elif name != "metrics":
            raise UserError(f"a record needs {name}")
    return record


def read_record(path: Path, name: str, missing: str, repair: str = "export it again") -> dict:
    """The record of the set `name`, checked.

    Args:
      path: the file.
      name: the set's name, which the record must have.
      missing: the message where the file is not there.
      repair: what the user can do about a damaged record.

    Raises:
      UserError: the file cannot be read, is another set's, or has a field missing or out of range.
    """
    record = read_json(path, missing, repair)
    if not isinstance(record, dict) or record.get("name") != name:
        raise UserError(f"{path} is not the record of {name!r}")
    if record.get("format") != FORMAT:
        raise UserError(f"{path} has format {record.get('format')!r}, not {FORMAT}")
    if lacking := [field for field in FIELDS if field not in record]:
        raise UserError(f"{path} lacks {', '.join(lacking)}: {repair}")
    require_valid_record(record, str(path))
    return record


def read_json(path: Path, missing: str, repair: str) -> Any:
    """The content of a JSON file; arguments and errors as in `read_record`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(missing) from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): {repair}") from error


def require_valid_record(record: Mapping[str, Any], where: str) -> None:
    """Refuse a record that lacks a field or has an impossible value.

    Args:
      record: the set's record.
      where: its file, for the message.

    Raises:
      UserError: the first thing that is wrong.
    """
    require_valid_fields(record, FIELDS, where)
    if not is_name(record["name"]):
        raise UserError(f"{where}: {record['name']!r} cannot name a set")
    require_valid_fields(record["metrics"], METRICS, f"{where}: metrics")
    for entry in record["series"]:
        if not isinstance(entry, dict):
            raise UserError(f"{where}: series must be a list of objects")
        require_valid_fields(entry, STEP, f"{where}: series")
    names = record["class_names"]
    if not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise UserError(f"{where}: class_names must be printable texts")
    if len(set(names)) != len(names) or len(names) != record["n_classes"]:
        raise UserError(
            f"{where}: {len(names)} class_names ({len(set(names))} distinct) for n_classes "
            f"{record['n_classes']}"
        )


def require_valid_fields(
    values: Mapping[str, Any], fields: Mapping[str, Field], where: str
) -> None:
    """Refuse `values` that lack one of `fields` or have one that does not fit.

    Raises:
      UserError: the first thing that is wrong; `where` is named.
    """
    for name, field in fields.items():
        if name not in values:
            raise UserError(f"{where} lacks {name}")
        value = values[name]
        problem = field.problem(value)
        if problem is None and isinstance(value, float) and not math.isfinite(value):
            problem = f"is {value}"
        if problem is None and isinstance(value, str) and not (value and value.isprintable()):
            problem = "is not a printable text"
        if problem is not None:
            raise UserError(f"{where}: {name} {problem}")


def as_json(content: Any) -> str:
    """JSON text, the same for the same content."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def preprocessing(record: Mapping[str, Any]) -> str:
    """The preprocessing of a set: `zca` or `standard`."""
    return PREPROCESSING[bool(record["zca"])]


def is_given(record: Mapping[str, Any]) -> bool:
    """Whether the set came as arrays, so that nothing is known of the run that made it."""
    return record["preset"] is None


def is_reduced(record: Mapping[str, Any]) -> bool:
    """Whether a set, or the run of a result row, took less than the paper's budget.

    True except at the paper preset; a flag `reduced` in the budget overrules that, for runs whose
    smaller preset is the published budget already.
    """
    return bool(record["budget"].get("reduced", record["preset"] != "paper"))
