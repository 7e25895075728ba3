"""Atomic files and folders: a reader sees the old content or the new, never half of either."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold `directory` against other processes that ask the same.

    Raises:
      UserError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        # Systems and file systems without advisory locks take the risk.
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    raise UserError(
                        f"another process is using {directory}: wait for it, or choose "
                        "another --out"
                    ) from error
        yield


_REPLACED = "replaced"


@contextlib.contextmanager
def atomic_folder(place: Path, prefix: str = "") -> Iterator[Path]:
    """Yield an empty folder beside `place` that replaces it when the block ends without an error.

    On any error `place` is as it was. The folder's name begins with `prefix`, by default that of a
    hidden file named like `place`, so that `restore_folders` finds what a killed process leaves.

    Raises:
      OSError: nothing can be written beside `place`.
    """
    prefix = prefix or f".{place.name}-"
    work = Path(tempfile.mkdtemp(dir=place.parent, prefix=prefix))
    try:
        staged = work / "new"
        staged.mkdir()
        yield staged
        if place.exists():
            (work / _REPLACED).mkdir()
            os.replace(place, work / _REPLACED / place.name)
        os.replace(staged, place)
    except BaseException:
        _put_back(work)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def restore_folders(parent: Path, prefix: str) -> None:
    """Clear away what `atomic_folder` of a killed process has left in `parent`.

    A folder that was being replaced comes back, if what was to replace it had not come yet.
    """
    for work in parent.glob(f"{prefix}*"):
        _put_back(work)
        shutil.rmtree(work)


def _put_back(work: Path) -> None:
    for replaced in work.glob(f"{_REPLACED}/*"):
        if not (place := work.parent / replaced.name).exists():
            os.replace(replaced, place)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed onto `path`.

    On any error, a full disk included, the temporary file is removed and `path` is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def append_line(path: Path, line: str) -> None:
    """Append one line durably; a reader may meet an unfinished last line after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        data = (line.rstrip("\n") + "\n").encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_array(array: np.ndarray) -> str:
    """Hex SHA-256 of an array's bytes in C order (the shape and dtype do not enter)."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def sha256_of_content(settings: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> str:
    """Hex SHA-256 over strings and arrays, names, shapes and dtypes included, in name order."""
    total = hashlib.sha256()
    for key, value in sorted(settings.items()):
        total.update(f"{key}={value}\n".encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name}{tensor.shape}{tensor.dtype}\n".encode())
        total.update(np.ascontiguousarray(tensor).data)
    return total.hexdigest()


def require_file_place(path: Path) -> None:
    """Make sure, before any work, that a file can be put at `path`; makes its directory.

    Raises:
      UserError: `path` is a directory, or its directory cannot be made or written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory: name a file")
    require_writable(path.parent, "choose another file")


def require_writable(directory: Path, advice: str = "choose another --out") -> None:
    """Create `directory` and make sure that a file can be written in it.

    Args:
      directory: where the output goes.
      advice: what to do where that cannot be.

    Raises:
      UserError: it cannot be created or written, before any work was done.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"cannot write to the output directory {directory} ({reason}): {advice} or "
            "correct its permissions"
        ) from error
