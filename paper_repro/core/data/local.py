"""A directory of data sets: `<name>.npz` or its parts, official or of one's own, Hub snapshots."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paper_repro.core.data import parquet
from paper_repro.core.data.arrays import KEYS, digests, normalise
from paper_repro.core.data.cache import read_cache, write_cache
from paper_repro.core.data.dataset import Dataset
from paper_repro.core.data.npz import read_npz
from paper_repro.core.data.parts import complete_names, read_parts
from paper_repro.core.data.registry import Spec, find, plain
from paper_repro.core.data.verify import verify
from paper_repro.core.errors import UserError

_FILE_NAME = re.compile(r"[\w. -]+")


def data_directory(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The directory asked for: the argument, else `KIP_DATA_DIR`, else None.

    Raises:
      UserError: it is not a directory.
    """
    chosen = data_dir or os.environ.get("KIP_DATA_DIR")
    if not chosen:
        return None
    directory = Path(chosen).expanduser()
    if not directory.is_dir():
        origin = "--data-dir" if data_dir else "the environment variable KIP_DATA_DIR"
        raise UserError(f"{directory} is not a directory: correct {origin}")
    return directory


def own_names(directory: Path) -> tuple[str, ...]:
    """Names of the npz files and parts in `directory` that are of no official data set."""
    return tuple(name for name in complete(directory) if find(name) is None)


def complete(directory: Path) -> tuple[str, ...]:
    """Names of all data sets that are in `directory` as npz files or whole in parts."""
    stems = {path.stem for path in directory.glob("*.npz")} | set(complete_names(directory))
    specs = {stem: find(stem) for stem in stems}
    return tuple(sorted({stem if spec is None else spec.name for stem, spec in specs.items()}))


def read(directory: Path, name: str, spec: Spec | None) -> Dataset | None:
    """The data set in `directory`, or None when it is not there.

    Official names are checked against the official digests, others for shape alone.

    Raises:
      UserError: a file of that name is there and cannot be used.
    """
    path = _npz_path(directory, name)
    parts = None if path is not None else read_parts(directory, name if spec is None else spec.name)
    if spec is None:
        if parts is not None:
            return _own(directory / f"{name}.part", parts, f"local parts of {name}")
        return None if path is None else _own(path, *_content(path))
    if path is not None:
        arrays, found = verify(spec, read_npz(path, KEYS), str(path))
        return Dataset.official(spec, arrays, found, f"local file {path.name}")
    if parts is not None:
        arrays, found = verify(spec, parts, f"{directory}/{spec.name}.*.part")
        return Dataset.official(spec, arrays, found, f"local parts of {spec.name}")
    folder = parquet.find_snapshot(directory, spec)
    if folder is None:
        return None
    if spec.sha256 is not None and (cached := read_cache(spec)) is not None:
        return Dataset.official(spec, *cached)  # the same bytes, without decoding every PNG again
    arrays, found = verify(spec, parquet.read_folder(folder, spec), str(folder))
    source = f"local Parquet files of {spec.hub.repo}"
    if spec.sha256 is not None:
        write_cache(spec, arrays, found, source)
    return Dataset.official(spec, arrays, found, source)


def _npz_path(directory: Path, name: str) -> Path | None:
    if not _FILE_NAME.fullmatch(name):
        return None
    exact = directory / f"{name}.npz"
    if exact.is_file():
        return exact
    same = [path for path in sorted(directory.glob("*.npz")) if plain(path.stem) == plain(name)]
    return same[0] if same else None


def _content(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """What an npz file holds, and what its data set calls its source."""
    return read_npz(path, KEYS, optional=("class_names",)), f"local file {path.name}"


def _own(path: Path, content: Mapping[str, np.ndarray], source: str) -> Dataset:
    arrays = normalise(content, str(path))
    n_classes = int(arrays["y_train"].max()) + 1
    if int(arrays["y_test"].max()) >= n_classes:
        raise UserError(
            f"{path}: y_test holds the label {arrays['y_test'].max()}, y_train stops at "
            f"{n_classes - 1}"
        )
    names = tuple(str(name) for name in content.get("class_names", range(n_classes)))
    if len(names) < n_classes:
        raise UserError(f"{path}: {len(names)} class_names for the labels 0 to {n_classes - 1}")
    return Dataset(
        name=path.stem,
        title=path.stem,
        **arrays,
        class_names=names,
        source=source,
        array_sha256=digests(arrays),
    )
