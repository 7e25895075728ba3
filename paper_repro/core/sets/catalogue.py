"""The learned sets of a `checkpoints/` directory: what is there, and reading it with checks.

One folder a set, named like its release configuration (`cifar10-convnet-ipc1-zca-learned-noaug`):
`support.safetensors` (tensors `images`, `labels`), `record.json` (what it is and how to make it
again), `series/step_000054.safetensors` (earlier official steps, where they are kept) and
pictures. `index.json` lists the folders.
"""

from __future__ import annotations

from pathlib import Path

from paper_repro.core.errors import UserError
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import NAME, is_name
from paper_repro.core.sets.record import read_json, read_record
from paper_repro.core.sets.sources import CheckpointFile

INDEX = "index.json"
RECORD = "record.json"
SUPPORT = "support.safetensors"
SERIES = "series"


def series_file(step: int) -> str:
    """The path of the support of an earlier step, relative to the set's folder."""
    return f"{SERIES}/step_{step:06d}.safetensors"


def read_catalogue(directory: Path) -> list[LearnedSet]:
    """All sets that `directory/index.json` lists, in its order.

    Raises:
      UserError: no such directory or index, a listed folder without a readable record, or a name
        that is not one plain folder name.
    """
    missing = f"{directory} is not a checkpoints directory: it has no {INDEX}"
    index = read_json(directory / INDEX, missing, "restore or export it again")
    names = index.get("sets") if isinstance(index, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{directory / INDEX} must be an object with a list of names, `sets`")
    return [read_set(directory, name) for name in names]


def read_set(directory: Path, name: str) -> LearnedSet:
    """The set `name` of a checkpoints directory; its arrays are read when asked for.

    Raises:
      UserError: see `read_catalogue`.
    """
    if not is_name(name):
        raise UserError(f"{name!r} is not the name of a learned set: {NAME.pattern}")
    place = directory / name
    record = read_record(place / RECORD, name, f"no learned set {name!r} in {directory}")
    series = {
        entry["step"]: CheckpointFile(place / series_file(entry["step"]), entry["sha256"])
        for entry in record["series"]
    }
    support = CheckpointFile(place / SUPPORT, record["file_sha256"])
    return LearnedSet(name, record, support, series)
