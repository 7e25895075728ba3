"""Whether the preprocessing fitted here is the one that a learned set was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paper_repro.core.data import Dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.transform import Transform, digest
from paper_repro.core.preprocess.vectors import check_vector, make_vector, read_vectors


def require_recorded(
    name: str, record: Mapping[str, Any], data: Dataset, transform: Transform
) -> bool:
    """Check a fit of `data` against a record's `data_sha256`, `transform_sha256` and `zca`.

    A standardisation is the same on every machine and must have the digest in the record. The
    eigenvectors of a ZCA differ in the last bits between machines, so a fit of the very same data
    with the published regularisation is accepted too; it must reproduce the published test vector
    where there is one.

    Args:
      name: the set's name, for messages.
      record: the set's record, or the row of its run.
      data: what `transform` was fitted on.
      transform: the fit.

    Returns:
      Whether the fit is another one of the same data, made on another machine.

    Raises:
      UserError: other data than the set was made from, or another transform.
    """
    if data.data_sha256 != record["data_sha256"]:
        raise UserError(
            f"{name} was made from other images than those of {data.name} on this machine"
        )
    published = read_vectors().get(data.name)
    if record["zca"] and published and published["data_sha256"] == data.data_sha256:
        check_vector(published, make_vector(data, transform))
    if digest(transform) == record["transform_sha256"]:
        return False
    if not record["zca"]:
        raise UserError(
            f"{name} was made with another standardisation than that of {data.name} on this machine"
        )
    return True
