"""`python -m release diff A B`: what changed between two release folders, or since a build."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import read_catalogue
from release.format import layout
from release.format.arrays import from_release
from release.format.manifest import Manifest, check_listed, read_manifest
from release.format.records import as_learned, read_record


@dataclasses.dataclass(frozen=True)
class SetChange:
    """How a set differs between two releases.

    Attributes:
      name: the name of the set.
      images: largest absolute difference of an image entry; None where the shapes differ.
      labels: largest absolute difference of a label entry; None where the shapes differ.
      accuracy: new stated accuracy minus the old one, a fraction.
      record: fields of the record that differ.
    """

    name: str
    images: float | None
    labels: float | None
    accuracy: float
    record: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Difference:
    """What changed from one release to another.

    Attributes:
      sets_added: names that only the second has.
      sets_removed: names that only the first has.
      sets_changed: the sets that both have, with how they differ.
      files_added: paths that only the second has.
      files_removed: paths that only the first has.
      files_changed: paths whose SHA-256 differs.
    """

    sets_added: tuple[str, ...]
    sets_removed: tuple[str, ...]
    sets_changed: tuple[SetChange, ...]
    files_added: tuple[str, ...]
    files_removed: tuple[str, ...]
    files_changed: tuple[str, ...]


def main(
    a: Annotated[Path, tyro.conf.Positional], b: Annotated[Path, tyro.conf.Positional]
) -> None:
    """Say what changed from release folder A to release folder B.

    Examples:
        python -m release diff build/v1 build/release

    Args:
        a: the older folder.
        b: the newer one.
    """
    found = diff(a, b)
    for name in found.sets_added:
        print(f"+ set {name}")
    for name in found.sets_removed:
        print(f"- set {name}")
    for change in found.sets_changed:
        print(f"~ set {change.name}: {_said(change)}")
    for sign, paths in (
        ("+", found.files_added),
        ("-", found.files_removed),
        ("~", found.files_changed),
    ):
        for path in paths:
            print(f"{sign} {path}")
    if found == Difference((), (), (), (), (), ()):
        print("no difference")


def diff(a: Path | str, b: Path | str) -> Difference:
    """What changed from release folder `a` to `b`.

    Files are compared by the manifests; those of changed sets are checked, then read.

    Raises:
      UserError: one of them is no release folder, or a file that has to be read is damaged.
    """
    a, b = Path(a), Path(b)
    old, new = read_manifest(a), read_manifest(b)
    before = {entry.path: entry for entry in old.files}
    after = {entry.path: entry for entry in new.files}
    changed = [p for p in sorted(before.keys() & after.keys()) if before[p] != after[p]]
    names_a, names_b = layout.names(before), layout.names(after)
    touched = [
        name
        for name in sorted(set(names_a) & set(names_b))
        if {layout.npz(name), layout.record(name), layout.parquet(name)} & set(changed)
    ]
    return Difference(
        tuple(sorted(set(names_b) - set(names_a))),
        tuple(sorted(set(names_a) - set(names_b))),
        tuple(_compare(name, (a, old), (b, new)) for name in touched),
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(changed),
    )


def up_to_date(folder: Path, checkpoints: Path) -> bool:
    """Whether `folder` is a release of exactly the sets of `checkpoints`, as they are now.

    Compares the records; `release.verify` checks the files.

    Raises:
      UserError: no such checkpoints directory, or a damaged record in it.
    """
    sets = {learned.name: learned.record for learned in read_catalogue(checkpoints)}
    try:
        read_manifest(folder)
    except UserError:
        return False
    released = {path.stem for path in (folder / layout.record("x")).parent.glob("*.json")}
    if released != set(sets):
        return False
    for name, record in sets.items():
        try:
            found = as_learned(read_record(folder, name))
        except UserError:
            return False
        if found != record:
            return False
    return True


def _compare(name: str, a: tuple[Path, Manifest], b: tuple[Path, Manifest]) -> SetChange:
    records, sets = [], []
    for folder, manifest in (a, b):
        wanted = {layout.npz(name), layout.record(name)}
        entries = [entry for entry in manifest.files if entry.path in wanted]
        if problems := check_listed(folder, entries):
            raise UserError(f"{folder} is damaged: {'; '.join(problems)}")
        records.append(read_record(folder, name))
        sets.append(from_release(folder, records[-1]))
    fields = [
        key
        for key in sorted(records[0].keys() | records[1].keys())
        if records[0].get(key) != records[1].get(key)
    ]
    accuracies = [record["metrics"]["test_accuracy"] for record in records]
    return SetChange(
        name,
        _largest(sets[0].images, sets[1].images),
        _largest(sets[0].labels, sets[1].labels),
        accuracies[1] - accuracies[0],
        tuple(fields),
    )


def _largest(a: np.ndarray, b: np.ndarray) -> float | None:
    return float(np.abs(b.astype(np.float64) - a).max()) if a.shape == b.shape else None


def _said(change: SetChange) -> str:
    parts = [
        f"{what} of another shape" if value is None else f"{what} differ by up to {value:.3g}"
        for what, value in (("images", change.images), ("labels", change.labels))
        if value != 0
    ]
    if change.accuracy:
        parts.append(f"stated accuracy {100 * change.accuracy:+.2f} points")
    if change.record:
        parts.append(f"record: {', '.join(change.record)}")
    return "; ".join(parts) or "other bytes, the same values"
