"""The cache of verified arrays: one uncompressed npz per data set, written atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.notice import say
from paper_repro.core.data.npz import read_npz, write_npz
from paper_repro.core.data.registry import Spec
from paper_repro.core.data.verify import verify
from paper_repro.core.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STALE = 24 * 3600  # seconds; no write takes that long


def cache_directory() -> Path:
    """`KIP_CACHE_DIR`, else the user's cache directory as the operating system has it."""
    if chosen := os.environ.get("KIP_CACHE_DIR"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("kip-repro"))


def cache_path(name: str) -> Path:
    """The file that holds a data set once it was fetched."""
    return cache_directory() / "data" / f"{name}.npz"


def read_cache(spec: Spec) -> tuple[dict[str, np.ndarray], dict[str, str], str] | None:
    """Return arrays, digests and source of a cached data set, or None if it is not cached.

    Every byte is checked against the official digests and those recorded when it was written.

    Raises:
      UserError: the file is damaged; the message names it and says to delete it.
    """
    path = cache_path(spec.name)
    try:
        content = read_npz(path, (*KEYS, "source", "sha256"))
        arrays, digests = verify(spec, content, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UserError as error:
        raise UserError(f"damaged cache file, delete {path} and run again ({error})") from error
    recorded = content["sha256"].ravel().tolist()
    if recorded != [digests[key] for key in KEYS]:
        raise UserError(
            f"damaged cache file, delete {path} and run again (its arrays do not match the "
            "SHA-256 recorded with them)"
        )
    return arrays, digests, str(content["source"])


def write_cache(
    spec: Spec, arrays: Mapping[str, np.ndarray], digests: Mapping[str, str], source: str
) -> None:
    """Keep a verified data set; a cache that may not be written is reported and done without.

    Raises:
      UserError: the disk is full; nothing is left behind.
    """
    path = cache_path(spec.name)
    _sweep(path)
    extra = {"source": np.array(source), "sha256": np.array([digests[key] for key in KEYS])}
    try:
        write_npz(path, {**arrays, **extra})
    except OSError as error:
        if error.errno in _NO_ROOM:
            megabytes = sum(array.nbytes for array in arrays.values()) / 1e6
            raise UserError(
                f"no space left to cache {spec.title} in {path.parent} ({megabytes:.0f} MB): free "
                "some, or set KIP_CACHE_DIR to a directory on another disk"
            ) from error
        reason = (error.strerror or str(error)).lower()
        say(
            f"warning: {spec.title} is not cached, {path.parent} cannot be written ({reason}); set "
            "KIP_CACHE_DIR to a directory that can"
        )


def _sweep(path: Path) -> None:
    """Remove what a killed process left half-written a day ago or longer."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            if time.time() - leftover.stat().st_mtime > _STALE:
                leftover.unlink()
