"""The manifest: every file of a release folder with its size and SHA-256, and the check of it.

The manifest lists all files of the folder except itself. Hidden entries (names that start with a
dot, as `.git` or `.cache` beside a download) are not part of a release and are passed over.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_file, write_atomic

MANIFEST = "manifest.json"
FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class ManifestFile:
    """One file.

    Attributes:
      path: relative to the release folder, with forward slashes.
      sha256: the SHA-256 of its bytes, in hex.
      size: its size in bytes.
    """

    path: str
    sha256: str
    size: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a release folder holds.

    Attributes:
      version: the version of the release, as `v1.0.0`.
      repository: the repository on the Hub that its card names, `namespace/name`.
      files: the files in the order of their paths, without the manifest itself.
    """

    version: str
    repository: str
    files: tuple[ManifestFile, ...]


class UnreadableManifest(UserError):
    """A file that is not a manifest of this version."""


def is_safe(path: str) -> bool:
    """Whether `path` is a plain relative posix path that stays in its folder and is not hidden."""
    parts = path.split("/")
    return (
        bool(path)
        and "\\" not in path
        and ":" not in path
        and path.isprintable()
        and not any(part == "" or part.startswith(".") for part in parts)
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a release folder.

    Raises:
      UserError: there is none, or it is not a manifest; what is wrong is named.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is larger than a manifest can be: build the release again")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a release folder: it has no {MANIFEST}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): build the release again") from error
    return parse_manifest(content, str(path))


def parse_manifest(text: bytes, path: str) -> Manifest:
    """The manifest with these bytes; `path` is where they are from.

    Raises:
      UnreadableManifest: it is not a manifest; what is wrong is named.
    """
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableManifest(
            f"{path} cannot be read ({error}): build the release again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise UnreadableManifest(
            f"{path} has format {found!r}, not {FORMAT}: build the release again"
        )
    version, repository = content.get("version"), content.get("repository")
    files = content.get("files")
    if not (isinstance(version, str) and isinstance(repository, str) and isinstance(files, list)):
        raise UnreadableManifest(
            f"{path} must have strings `version` and `repository` and a list `files`: build the "
            "release again"
        )
    read = tuple(_entry(path, entry) for entry in files)
    names = [entry.path for entry in read]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableManifest(
            f"{path} lists {doubled[0]} more than once: build the release again"
        )
    return Manifest(version, repository, read)


def make_manifest(folder: Path, version: str, repository: str) -> Manifest:
    """The manifest of the files that `folder` holds now.

    Raises:
      UserError: a file's name is unsafe, or a link is among the files.
    """
    files = []
    for path in _files(folder):
        if not is_safe(path) or (folder / path).is_symlink():
            raise UserError(f"{folder / path} cannot be released: not a plain file or name")
        files.append(
            ManifestFile(path, sha256_of_file(folder / path), (folder / path).stat().st_size)
        )
    return Manifest(version, repository, tuple(files))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`; the same content makes the same bytes."""
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "repository": manifest.repository,
        "files": [dataclasses.asdict(entry) for entry in manifest.files],
    }
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def check_files(folder: Path, manifest: Manifest) -> list[str]:
    """What differs between `folder` and its manifest, one line each; empty when nothing does.

    Missing files, changed ones (size or SHA-256), files the manifest does not list, paths that
    leave the folder, and symbolic links. No unsafe path is opened.
    """
    problems = check_listed(folder, manifest.files)
    return problems + [f"{path} is not listed in {MANIFEST}" for path in unlisted(folder, manifest)]


def unlisted(folder: Path, manifest: Manifest, hidden: bool = False) -> list[str]:
    """Files and links of `folder` that its manifest does not list, in path order.

    Args:
      hidden: those under hidden names too.
    """
    listed = {entry.path for entry in manifest.files}
    return [path for path in _files(folder, hidden) if path not in listed]


def check_listed(folder: Path, entries: Iterable[ManifestFile], links: bool = False) -> list[str]:
    """As `check_files`, for these entries alone (a partial download).

    `links` allows symbolic links, of which the cache of huggingface_hub is made.
    """
    problems = []
    for entry in entries:
        if not is_safe(entry.path):
            problems.append(f"{MANIFEST} lists the unsafe path {entry.path!r}")
        elif not links and (link := _link(folder, entry.path)):
            problems.append(f"{link} is a symbolic link, not a file of this folder")
        elif not (path := folder / entry.path).is_file():
            problems.append(f"{entry.path} is missing")
        elif (size := path.stat().st_size) != entry.size:
            problems.append(f"{entry.path} has {size} bytes, not {entry.size}")
        elif sha256_of_file(path) != entry.sha256:
            problems.append(f"{entry.path} has changed: its SHA-256 is not the manifest's")
    return problems


def _entry(manifest: str, entry: Any) -> ManifestFile:
    if (
        isinstance(entry, dict)
        and set(entry) == {"path", "sha256", "size"}
        and isinstance(entry["path"], str)
        and isinstance(entry["sha256"], str)
        and _SHA256.fullmatch(entry["sha256"])
        and type(entry["size"]) is int
        and entry["size"] >= 0
    ):
        return ManifestFile(entry["path"], entry["sha256"], entry["size"])
    raise UnreadableManifest(
        f"{manifest}: the entry {json.dumps(entry)[:200]} is not a path with its sha256 and size"
    )


def _link(folder: Path, path: str) -> str | None:
    """The part of `path` that is a symbolic link, if one is."""
    for part in (*reversed(PurePosixPath(path).parents), PurePosixPath(path)):
        if part != PurePosixPath(".") and (folder / part).is_symlink():
            return str(part)
    return None


def _files(folder: Path, hidden: bool = False) -> list[str]:
    """All files and links of `folder` but the manifest, in path order."""
    found = []
    for top, directories, names in os.walk(folder):
        inside = Path(top)
        links = [name for name in directories if (inside / name).is_symlink()]
        directories[:] = [name for name in directories if hidden or not name.startswith(".")]
        found += [
            (inside / name).relative_to(folder).as_posix()
            for name in (*names, *links)
            if hidden or not name.startswith(".")
        ]
    return sorted(path for path in found if path != MANIFEST)
