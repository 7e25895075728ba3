"""Compiled code in files of a cache, which may be damaged, full, read-only or not there at all.

A file begins with the SHA-256 of the rest, because damaged machine code would run. What cannot be
read is compiled again, what cannot be written is compiled by the next process as well, and a line
on stderr says so, once.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import uuid
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size


def read(path: Path) -> bytes | None:
    """What `write` wrote there; None where nothing is, or nothing that can be used.

    Example:
      >>> from paper_repro.core.machine import kept
      >>> kept.write(tmp_path / "kernel.bin", b"code", "")
      >>> kept.read(tmp_path / "kernel.bin")
      b'code'
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        tell(f"compiled code in {path} is compiled again ({reason(error)})")
        return None
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        tell(f"compiled code in {path} is compiled again (it was damaged)")
        return None
    return content[_DIGEST:]


def write(path: Path, content: bytes, advice: str) -> None:
    """Write the file whole, or not at all; `advice` says how to choose another place."""
    partial = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        tell_not_kept(path.parent, error, advice)


def tell_not_kept(folder: Path, error: Exception, advice: str) -> None:
    """Say that nothing can be kept in `folder`."""
    tell(
        f"compiled code cannot be kept in {folder} ({reason(error)}): this run goes on, the next "
        f"one compiles again; free some room there, or {advice}"
    )


def reason(error: Exception) -> str:
    """Why, in lower case, without the name of a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@functools.cache
def tell(message: str) -> None:
    """A warning on stderr, the same one once a process."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
