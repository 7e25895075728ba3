"""Whether a release folder holds what a `checkpoints/` directory has now."""

from __future__ import annotations

from pathlib import Path

from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import read_catalogue
from release import layout
from release.manifest import read_manifest
from release.records import read_record


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
            found = read_record(folder / layout.record(name), name)
        except UserError:
            return False
        if {key: value for key, value in found.items() if key != "release"} != dict(record):
            return False
    return True
