"""The fitted preprocessing that a set is released with: the one its record names, or a new fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import Transform, fitted, load
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.record import preprocessing
from release.format import layout


def transform_of(
    record: Mapping[str, Any], transforms: Path | None, data_dir: Path | None
) -> tuple[Transform, bool]:
    """The transform of a set, and whether it is a new fit of the same data.

    What counts as a fit of the same data is said in `require_recorded`; a release states that it
    was fitted again.

    Args:
      record: the set's record.
      transforms: a folder with transform files, such as an earlier release's, asked first.
      data_dir: the directory of the data, see `load_dataset`.

    Raises:
      UserError: no data set, other data than the set was made from, or another transform.
    """
    name = record["dataset"]
    path = None
    if transforms is not None:
        path = transforms / Path(layout.transform(name, preprocessing(record))).name
    if path is not None and path.exists():
        transform = load(path)
        if digest(transform) != record["transform_sha256"]:
            raise UserError(f"{path} is not the transform that {record['name']} was made with")
        return transform, False
    data = load_dataset(name, data_dir)
    transform = fitted(data, preprocessing(record))
    return transform, require_recorded(record["name"], record, data, transform)
