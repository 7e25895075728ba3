"""Where a released set is read from: a folder, or a repository on the Hub at one commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from paper_repro.core.errors import UserError
from release.format.manifest import MANIFEST, Manifest, check_listed, read_manifest


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
            folder = _download(self.where, self.commit, paths)
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
    folder = _download(source, revision, [MANIFEST])
    # A snapshot's folder is named after its commit: later files come from the same one.
    return Source(source, folder, folder.name, read_manifest(folder))


def _download(repository: str, revision: str | None, paths: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, allow_patterns=list(paths)
            )
        )
    except HFValidationError as error:
        raise UserError(f"{repository!r} is neither a folder nor a repository name") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repository} has no revision {revision!r} on the Hub") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"no data set {repository} on the Hub (or no access to it), and no such folder"
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{repository} cannot be reached and is not in the cache: go online once, or give "
            "the folder of a download as source"
        ) from error
    except (HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{repository} cannot be downloaded ({reason}): try again") from error
