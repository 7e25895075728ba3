"""The plan of a push, its description, and carrying it out: one commit, then one tag."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_repro.core.errors import UserError
from release.format.manifest import (
    MANIFEST,
    Manifest,
    ManifestFile,
    UnreadableManifest,
    parse_manifest,
)
from release.hub.client import Head, Hub, RemoteFile

KEPT = (".gitattributes",)
"""Files of the repository that no release lists and that every one of them may have."""

_SHOWN = 3
_LARGEST = 16 << 20  # bytes


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
        """Paths that are missing or changed in `remote`; none where it holds the release.

        Other files may be there: those that people added to the repository.
        """
        files = self.files
        return sorted(p for p, entry in files.items() if not self._is(entry, remote.get(p)))

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
        # Of 64 digits in a repository of git's newer format.
        hashed = hashlib.sha256 if len(remote.blob_id) == 64 else hashlib.sha1
        return (
            remote.blob_id == hashed(b"blob %d\0" % len(content) + content).hexdigest()
            and hashlib.sha256(content).hexdigest() == entry.sha256
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a push has to do.

    Attributes:
      head: the state of the repository; None where it has to be created, or is not visible.
      add: paths to upload, new or changed.
      delete: paths of the release that is there, which this one does not have.
      released: the commit that has the tag already and holds this release, if one does.
      leave: other files of the repository, which people added or changed there.
      replaced: paths to upload over what people added or changed there.
    """

    head: Head | None
    add: tuple[str, ...]
    delete: tuple[str, ...] = ()
    released: str | None = None
    leave: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


def plan(hub: Hub, release: Release, create: bool, public: bool) -> Plan:
    """Compare the release with the repository.

    Args:
      hub: the repository.
      release: what is pushed.
      create: the repository may be missing.
      public: the repository is to be public where it is created.

    Raises:
      UserError: no such repository, one that is private already, one with the tag on something
        else, or one with files but no release.
    """
    files, tag = release.files, release.tag
    head = hub.head()
    if head is None:
        if not create:
            raise UserError(
                f"there is no data set repository {hub.repository} at {hub.endpoint}, or the "
                "token may not see it: correct --repo, or add --create to make it"
            )
        return Plan(None, tuple(sorted(files)))
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
        return Plan(head, (), released=tagged)
    remote = hub.tree(head.commit) if head.commit else {}
    add = tuple(release.differences(remote))
    there = _manifest(hub, head, remote)
    others = [path for path in remote if path not in files and path not in KEPT]
    if there is None:
        if others:
            raise UserError(
                f"{hub.repository} contains {_some(others)}, which is not part of any release that "
                "this version reads: remove what is not needed there, or build for another --repo"
            )
        return Plan(head, add)
    listed = {entry.path: entry for entry in there.files}
    untouched = {path for path, entry in listed.items() if _may_be(entry, remote.get(path))}
    return Plan(
        head,
        add,
        delete=tuple(sorted(path for path in others if path in untouched)),
        leave=tuple(sorted(path for path in others if path not in untouched)),
        replaced=tuple(
            path for path in add if path in remote and path not in untouched and path != MANIFEST
        ),
    )


def _manifest(hub: Hub, head: Head, remote: Mapping[str, RemoteFile]) -> Manifest | None:
    """The manifest of the release that is there; None where none is, or none that can be read."""
    if head.commit is None or MANIFEST not in remote or remote[MANIFEST].size > _LARGEST:
        return None
    try:
        return parse_manifest(hub.read(MANIFEST, head.commit), MANIFEST)
    except UnreadableManifest:
        return None


def _may_be(entry: ManifestFile, remote: RemoteFile | None) -> bool:
    """Whether a file of the repository is the listed one, as far as a listing shows."""
    if remote is None or remote.size != entry.size:
        return False
    return remote.sha256 in (None, entry.sha256)


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
        over = ", over one that was added or changed there" if path in plan.replaced else ""
        lines.append(f"{verb:<11} {path}  {entry.size:,} bytes{over}")
    lines += [f"delete      {_shown(path)}" for path in plan.delete]
    lines += [f"leave       {_shown(path)}  added or changed there" for path in plan.leave]
    size = sum(files[path].size for path in plan.add)
    left = f"; {len(plan.leave)} of others to leave" if plan.leave else ""
    lines.append(
        f"{len(plan.add)} files, {size:,} bytes to upload; {len(plan.delete)} to delete{left}"
    )
    return "\n".join(lines)


def carry_out(plan: Plan, hub: Hub, release: Release, public: bool) -> str:
    """Do what is planned; returns the commit that has the tag.

    Raises:
      UserError: a request failed, or the commit does not hold the release; nothing was tagged then.
    """
    head = plan.head or hub.create(private=not public)
    commit = _committed(plan, head, hub, release)
    remote = hub.tree(commit)
    wrong = release.differences(remote) + [path for path in plan.delete if path in remote]
    if wrong:
        raise UserError(
            f"commit {commit} of {hub.repository} does not hold the release ({', '.join(wrong)}): "
            "nothing was tagged; run the same command again"
        )
    hub.tag(release.tag, commit)
    print(f"tagged      {release.tag} on commit {commit}")
    return commit


def _committed(plan: Plan, head: Head, hub: Hub, release: Release) -> str:
    """The commit that holds the release, made where there is none yet."""
    add, commit = plan.add, head.commit
    if plan.head is None and commit is not None:  # made meanwhile, or by an earlier try
        remote = hub.tree(commit)
        add = tuple(release.differences(remote))
        if strangers := [p for p in remote if p not in release.files and p not in KEPT]:
            raise UserError(
                f"{hub.repository} was made by someone else meanwhile and holds "
                f"{_some(strangers)}: nothing was changed; run the same command again to see what "
                "it would do"
            )
    if not (add or plan.delete or commit is None):
        return commit
    local = release.folder.resolve()
    try:
        additions = hub.upload([(path, local / path) for path in add])
        commit = hub.commit(
            additions,
            plan.delete,
            parent=head.commit,
            title=f"Release {release.tag}",
            is_made=lambda made: not release.differences(hub.tree(made)),
        )
    except UserError as error:
        if plan.head is not None:
            raise
        raise UserError(
            f"{error}; the repository {hub.repository} was created and is empty still"
        ) from error
    print(f"committed   {commit}")
    return commit


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _some(paths: Sequence[str]) -> str:
    """The first few, printable."""
    return ", ".join(map(ascii, paths[:_SHOWN])) + (", ..." if len(paths) > _SHOWN else "")
