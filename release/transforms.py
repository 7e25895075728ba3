"""The fitted preprocessing that goes with a set: the one its record names, or a fit of its data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core.errors import UserError
from release import layout
from release.records import kind_of

if TYPE_CHECKING:
    from paper_repro.core.preprocess import Transform


def transform_of(
    record: Mapping[str, Any], transforms: Path | None, data_dir: Path | None
) -> tuple[Transform, bool]:
    """The transform of a set, and whether it is a new fit of the same data.

    A standardisation is the same on every machine and must have the digest in the record. The
    eigenvectors of a ZCA differ in the last bits between machines, so a fit of the very same
    data with the published regularisation is accepted too; it must reproduce the published test
    vector where there is one, and a release says that it was fitted again.

    Args:
      record: of the set.
      transforms: a folder with transform files, such as an earlier release's, asked first.
      data_dir: as in `load_dataset`.

    Raises:
      UserError: no data set, other data than the set was made from, or another transform.
    """
    from paper_repro.core.preprocess import load
    from paper_repro.core.preprocess.transform import digest

    name = record["dataset"]
    path = None
    if transforms is not None:
        path = transforms / Path(layout.transform(name, kind_of(record))).name
    if path is not None and path.exists():
        transform = load(path)
        if digest(transform) != record["transform_sha256"]:
            raise UserError(f"{path} is not the transform that {record['name']} was made with")
        return transform, False
    transform = _fit(record, data_dir)
    if digest(transform) == record["transform_sha256"]:
        return transform, False
    if not record["zca"]:
        raise UserError(
            f"{record['name']} was made with another standardisation than {name} has: it cannot "
            "be released with this one"
        )
    return transform, True


def _fit(record: Mapping[str, Any], data_dir: Path | None) -> Transform:
    from paper_repro.core.data import load_dataset
    from paper_repro.core.preprocess import fitted
    from paper_repro.core.preprocess.vectors import check_vector, make_vector, read_vectors

    data = load_dataset(record["dataset"], data_dir)
    if data.data_sha256 != record["data_sha256"]:
        raise UserError(
            f"{record['name']} was made from other images than the data set {data.name} has here"
        )
    transform = fitted(data, kind_of(record))
    published = read_vectors()
    if record["zca"] and data.name in published:
        check_vector(published[data.name], make_vector(data, transform))
    return transform
