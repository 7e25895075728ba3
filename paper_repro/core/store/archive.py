"""A folder as a few archives, each small enough to travel alone and readable without the others."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import write_atomic

ARCHIVE_BYTES = 15 * 2**20
"""An archive is smaller, but for its headers."""

_NAME = "session-{}.tar"
_OVERHEAD = 2_048
"""Bytes that a file takes in an archive beside its own, at most: a header and what fills blocks."""


def write_archives(
    directory: Path, files: Iterable[Path], folder: Path, limit: int = ARCHIVE_BYTES
) -> list[Path]:
    """Write `session-1.tar` and so on: the files in the given order, most wanted ones first.

    Archives of an earlier call are replaced, each atomically; one whose content is the same stays.

    Args:
      directory: what names in the archives begin at.
      files: regular files below it; one that has gone meanwhile is passed over.
      folder: where the archives go.
      limit: bytes of an archive at most.

    Returns:
      The files that are too large for an archive.

    Example:
      >>> (tmp_path / "a").write_text("1") and write_archives(tmp_path, [tmp_path / "a"], tmp_path)
      []
      >>> read_archives(tmp_path, tmp_path / "elsewhere")
      1
    """
    groups: list[list[tuple[str, bytes]]] = [[]]
    used, left_out = 0, []
    for path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        size = len(content) + _OVERHEAD
        if size > limit - 10_240:  # the end of an archive is filled up to 10 KiB
            left_out.append(path)
            continue
        if used + size > limit - 10_240:
            groups.append([])
            used = 0
        groups[-1].append((path.relative_to(directory).as_posix(), content))
        used += size
    for number, group in enumerate(groups, 1):
        archive, content = folder / _NAME.format(number), _archive(group)
        if not archive.exists() or archive.read_bytes() != content:
            write_atomic(archive, content)
    for path in _archives(folder)[len(groups) :]:
        path.unlink()
    return left_out


def read_archives(folder: Path, directory: Path) -> int:
    """Put back what archives in `folder` hold, but for files that `directory` has.

    Returns:
      How many files were written.

    Raises:
      UserError: an archive is damaged, or names a place outside `directory`.
    """
    count = 0
    for path in _archives(folder):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    place = directory / member.name
                    if member.isfile() and not place.exists():
                        safe = tarfile.data_filter(member, os.fspath(directory))
                        write_atomic(directory / safe.name, archive.extractfile(member).read())
                        count += 1
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(f"{path} is damaged ({error}): leave it out") from error
    return count


def _archives(folder: Path) -> list[Path]:
    """The archives in `folder` in order."""
    found = ((path.stem.partition("-")[2], path) for path in folder.glob(_NAME.format("*")))
    return [path for _, path in sorted((int(n), path) for n, path in found if n.isdigit())]


def _archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
