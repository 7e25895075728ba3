"""Reading npz files that may be damaged or foreign, and writing them atomically; never pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import atomic_path


def read_npz(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read the named arrays; others in the file are left alone.

    Raises:
      UserError: the file cannot be read, is truncated or damaged, holds Python objects (pickle
        is never loaded), or lacks a required array. A file that is not there raises
        FileNotFoundError (or NotADirectoryError) as usual.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory: name an npz file")
    try:
        with open(path, "rb") as file:
            begins = file.read(6)
        if begins == b"\x93NUMPY":
            raise UserError(f"{path} is one array, not an npz archive of several")
        if begins[:2] != b"PK":
            raise UserError(f"{path} is not an npz file: write one with numpy.savez")
        loaded = np.load(path, allow_pickle=False)
        with loaded as archive:
            missing = [key for key in required if key not in archive.files]
            if missing:
                raise UserError(
                    f"{path} has no {', '.join(missing)}: expected the arrays {', '.join(required)}"
                )
            keys = [*required, *(key for key in optional if key in archive.files)]
            return {key: archive[key] for key in keys}
    except (UserError, FileNotFoundError, NotADirectoryError):
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path}: correct its permissions") from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory, or is damaged") from error
    except Exception as error:  # whatever a damaged zip member or header makes numpy raise
        if "pickle" in str(error).lower():
            raise UserError(
                f"{path} holds Python objects, which are never loaded: save plain numeric arrays "
                "with numpy.savez"
            ) from error
        raise UserError(f"{path} is not a readable npz file, it is truncated or damaged") from error


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays uncompressed; a reader sees the whole file or none.

    Raises:
      OSError: the directory cannot be written or the disk is full; `path` is then untouched.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
