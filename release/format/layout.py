"""Where things stand in a release folder; every path is relative to it, with forward slashes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from paper_repro.core.sets.naming import NAME

CARD = "README.md"
CROISSANT = "croissant.json"
"""Read by its address: names every file by its own."""

CROISSANT_LOCAL = "croissant-local.json"
"""The same for readers of the folder: names every file by its path."""

GALLERY = "index.html"
CITATION = "CITATION.cff"

_RECORD = re.compile(rf"records/({NAME.pattern})\.json")


def parquet(name: str) -> str:
    """The rows of a set."""
    return f"data/{name}/train-00000-of-00001.parquet"


def npz(name: str) -> str:
    """The arrays of a set under the keys of the official release, `images` and `labels`."""
    return f"npz/{name}.npz"


def record(name: str) -> str:
    """What a set is, how it was made and what it scores."""
    return f"records/{name}.json"


def transform(dataset: str, kind: str) -> str:
    """The fitted preprocessing of a data set, shared by all sets that were made with it."""
    return f"transforms/{dataset}-{kind}.safetensors"


def kind_of(path: str, dataset: str) -> str | None:
    """The kind in `transform(dataset, kind)`; None where `path` is no such path."""
    found = re.fullmatch(rf"transforms/{re.escape(dataset)}-({NAME.pattern})\.safetensors", path)
    return found[1] if found else None


def images_picture(name: str) -> str:
    """All images of a set, through the inverse transform."""
    return f"pictures/{name}-images.png"


def labels_picture(name: str) -> str:
    """The labels of a set as a heat map."""
    return f"pictures/{name}-labels.png"


def files_of(name: str) -> tuple[str, ...]:
    """Every file that belongs to one set alone."""
    return (parquet(name), npz(name), record(name), images_picture(name), labels_picture(name))


def names(paths: Iterable[str]) -> list[str]:
    """The names of the sets among the files of a release, in order."""
    return sorted(found[1] for path in paths if (found := _RECORD.fullmatch(path)))
