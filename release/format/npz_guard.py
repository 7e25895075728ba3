"""Checks of a foreign npz before it is read: no pickle, no header larger than its data."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from paper_repro.core.data.arrays import not_numbers
from paper_repro.core.errors import UserError

MAX_BYTES = 2 << 30
"""The largest size of all arrays of one file together; a released set takes a few megabytes."""


def require_safe_npz(path: Path) -> None:
    """Refuse an npz that should not be opened; only headers are read.

    Raises:
      UserError: not a zip file, truncated, a member that is not an array, Python objects, or an
        array whose header declares more than the file holds or than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise UserError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB: refused")
            names = [member.filename for member in members]
            for member in members:
                if names.count(member.filename) > 1:
                    raise UserError(f"{path} has {member.filename} more than once")
                with archive.open(member) as file:
                    _require_safe_member(path, member, file)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"no support set at {path}") from error
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        EOFError,
        zlib.error,
        NotImplementedError,
    ) as e:
        raise UserError(f"{path} is not a readable npz file, it is truncated or damaged") from e


def _require_safe_member(path: Path, member: zipfile.ZipInfo, file) -> None:
    name = member.filename
    if not name.endswith(".npy") or file.read(6) != b"\x93NUMPY":
        raise UserError(f"{path} contains {name!r}, which is not an array: refused")
    version = tuple(file.read(2))
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise UserError(f"{path}: {name} has the npy version {version}, not 1.0 or 2.0")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise UserError(
            f"{path} holds Python objects ({name}), which are never loaded: save plain numeric "
            "arrays with numpy.savez"
        )
    if dtype.kind not in "fiub":
        raise UserError(not_numbers(dtype, f"{path}: the values of {name}"))
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise UserError(f"{path}: {name} declares the shape {shape}, more than the file holds")
