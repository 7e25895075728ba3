"""Where a released set is read from: a folder, or a repository on the Hub at one commit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paper_repro.core import lazy
from paper_repro.core.data.network import require_usable_variables
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from release.format.manifest import MANIFEST, Manifest, check_listed, read_manifest

if TYPE_CHECKING:
    from release.hub import download as downloading
else:
    downloading = lazy.module("release.hub.download")

_VERSION = re.compile(r"v?\d+\.\d")


@dataclasses.dataclass(frozen=True)
class Source:
    """A release to read from.

    Attributes:
      where: the folder or repository, as the user named it.
      folder: the folder with its manifest (and, for a repository, the files fetched so far).
      commit: the commit of the repository; None for a folder.
      manifest: the manifest of the release.
    """

    where: str
    folder: Path
    commit: str | None
    manifest: Manifest

    def fetch(self, paths: Sequence[str]) -> Path:
        """The folder with these files in it, each of the manifest's size and SHA-256.

        Raises:
          UserError: the manifest does not list one, it is damaged, or it cannot be downloaded.
        """
        listed = {entry.path: entry for entry in self.manifest.files}
        if missing := [path for path in paths if path not in listed]:
            raise UserError(f"the manifest of {self.where} does not list {missing[0]}")
        folder = self.folder
        if self.commit is not None:
            folder = _fetched(self.where, self.commit, paths)
        entries = [listed[path] for path in paths]
        if problems := check_listed(folder, entries, links=self.commit is not None):
            raise UserError(f"{self.where} is damaged: {'; '.join(problems)}")
        return folder


def open_source(source: str | Path, revision: str | None) -> Source:
    """The release in a folder, or in a Hub repository at `revision` (its newest when None).

    Raises:
      UserError: neither, a folder with a revision, no network, or no manifest there.
    """
    if isinstance(source, Path) or Path(source).is_dir():
        if revision is not None:
            raise UserError(f"{source} is a folder and has no revisions: leave revision out")
        return Source(str(source), Path(source), None, read_manifest(Path(source)))
    folder = _fetched(source, revision, [MANIFEST])
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{source} is not the repository of a release: it has no {MANIFEST}")
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        raise UserError(
            f"the manifest of {source} was damaged on its way, or is of another version of this "
            f"tool: delete {folder} and load it again, or ask who released it"
        ) from error
    if revision is not None and _VERSION.match(revision) and revision != manifest.version:
        say(f"note: the release at {revision} of {source} says that it is {manifest.version}")
    # A snapshot's folder is named after its commit: later files come from the same one.
    return Source(source, folder, folder.name, manifest)


def _fetched(repository: str, revision: str | None, paths: Sequence[str]) -> Path:
    require_usable_variables()  # before the client reads them, when it is imported
    return downloading.download(repository, revision, paths)
