"""The plan of a push, its description, and carrying it out: one commit, then one tag."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_repro.core.errors import UserError
from release.format.manifest import MANIFEST, ManifestFile
from release.hub.client import Head, Hub, RemoteFile

KEPT = (".gitattributes",)
"""Files of the repository that no release lists and no push deletes."""

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Release:
    """A release folder on its way to the Hub.

    Attributes:
      folder: the release folder.
      files: all files to publish by path, the manifest included.
      tag: the tag that the commit gets.
    """

    folder: Path
    files: Mapping[str, ManifestFile]
    tag: str

    def differences(self, remote: Mapping[str, RemoteFile]) -> list[str]:
        """Paths that are missing, changed or too many in `remote`; none where it is the release."""
        files = self.files
        wrong = [path for path, entry in files.items() if not self._is(entry, remote.get(path))]
        wrong += [path for path in remote if path not in files and path not in KEPT]
        return sorted(wrong)

    def _is(self, entry: ManifestFile, remote: RemoteFile | None) -> bool:
        if remote is None or remote.size != entry.size:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == entry.sha256
        # The Hub has the git id of a small file only, which is that of the bytes here; and those
        # have to be the manifest's still.
        try:
            content = (self.folder / entry.path).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
        return (
            remote.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            and hashlib.sha256(content).hexdigest() == entry.sha256
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a push has to do.

    Attributes:
      head: the state of the repository; None where it has to be created, or is not visible.
      add: paths to upload, new or changed.
      delete: paths of the repository that the release does not have.
      released: the commit that has the tag already and holds exactly this release, if one does.
    """

    head: Head | None
    add: tuple[str, ...]
    delete: tuple[str, ...]
    released: str | None


def plan(hub: Hub, release: Release, create: bool, public: bool) -> Plan:
    """Compare the release with the repository.

    Args:
      hub: the repository.
      release: what is pushed.
      create: the repository may be missing.
      public: the repository is to be public where it is created.

    Raises:
      UserError: no such repository, one that is private already, one with the tag on something
        else, or one with files that are not part of any release.
    """
    files, tag = release.files, release.tag
    head = hub.head()
    if head is None:
        if not create:
            raise UserError(
                f"there is no data set repository {hub.repository} at {hub.endpoint}, or the "
                "token may not see it: correct --repo, or add --create to make it"
            )
        return Plan(None, tuple(sorted(files)), (), None)
    if public and head.private:
        raise UserError(
            f"{hub.repository} exists and is private: --public is for a repository that --create "
            "makes; change the visibility in its settings, or leave --public out"
        )
    tagged = hub.tags().get(tag)
    if tagged is not None:
        if release.differences(hub.tree(tag)):
            raise UserError(
                f"{hub.repository} has the tag {tag} already, on commit {tagged}, whose files are "
                "not those of this release: a tag is never moved; build a new version, or choose "
                "another --tag"
            )
        return Plan(head, (), (), tagged)
    remote = hub.tree(head.commit) if head.commit else {}
    changed = release.differences(remote)
    delete = tuple(path for path in changed if path not in files)
    if delete and MANIFEST not in remote:
        raise UserError(
            f"{hub.repository} contains {_some(delete)}, which is not part of any release and "
            "would be deleted: remove what is not needed there, or build for another --repo"
        )
    return Plan(head, tuple(path for path in changed if path in files), delete, None)


def described(plan: Plan, hub: Hub, release: Release, public: bool) -> str:
    """The plan, a line for each file."""
    files = release.files
    if plan.head is None:
        unseen = "none is visible" + (" without a token" if hub.token is None else "")
        state = f"{unseen}; to be created, {'public' if public else 'private'}"
        parent = "the first commit of the new repository"
    else:
        state = "private" if plan.head.private else "public"
        parent = plan.head.commit or "none, the repository is empty"
    lines = [
        f"repository  {hub.repository} at {hub.endpoint} ({state})",
        f"parent      {parent}",
        f"tag         {release.tag}",
    ]
    for path, entry in sorted(files.items()):
        verb = "upload" if path in plan.add else "keep"
        lines.append(f"{verb:<11} {path}  {entry.size:,} bytes")
    lines += [f"delete      {path if path.isprintable() else ascii(path)}" for path in plan.delete]
    size = sum(files[path].size for path in plan.add)
    lines.append(f"{len(plan.add)} files, {size:,} bytes to upload; {len(plan.delete)} to delete")
    return "\n".join(lines)


def carry_out(plan: Plan, hub: Hub, release: Release, public: bool) -> str:
    """Do what is planned; returns the commit that has the tag.

    Raises:
      UserError: a request failed, or the commit does not hold the release; nothing was tagged then.
    """
    files, tag = release.files, release.tag
    head = plan.head or hub.create(private=not public)
    add, delete = plan.add, plan.delete
    commit = head.commit
    if plan.head is None and commit is not None:  # made meanwhile, or by an earlier try
        changed = release.differences(hub.tree(commit))
        add = tuple(path for path in changed if path in files)
        if strangers := [path for path in changed if path not in files]:
            raise UserError(
                f"{hub.repository} was made by someone else meanwhile and holds "
                f"{_some(strangers)}: nothing was changed; run the same command again to see what "
                "it would do"
            )
    if add or delete or commit is None:
        local = release.folder.resolve()
        additions = hub.upload([(path, local / path) for path in add])
        commit = hub.commit(
            additions,
            delete,
            parent=head.commit,
            title=f"Release {tag}",
            is_made=lambda made: not release.differences(hub.tree(made)),
        )
        print(f"committed   {commit}")
    wrong = release.differences(hub.tree(commit))
    if wrong:
        raise UserError(
            f"commit {commit} of {hub.repository} does not hold the release ({', '.join(wrong)}): "
            "nothing was tagged; run the same command again"
        )
    hub.tag(tag, commit)
    print(f"tagged      {tag} on commit {commit}")
    return commit


def _some(paths: Sequence[str]) -> str:
    """The first few, printable."""
    return ", ".join(map(ascii, paths[:_SHOWN])) + (", ..." if len(paths) > _SHOWN else "")
