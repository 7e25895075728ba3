"""Publish a release folder on the Hugging Face Hub: one commit, then one tag.

    python -m release push build/release            # prints what it would do
    python -m release push build/release --yes      # does it

The order is: the folder against its manifest; the repository, its newest commit and its tags;
the large blobs; one commit against that parent; the files of that commit against the manifest;
the tag. A tag therefore always points to a complete release. Every step that is done already is
skipped, so the same command run again finishes what was interrupted.

The tests run this with the real client against a Hub on the loopback interface that takes large
files by the LFS protocol, one PUT each (HF_HUB_DISABLE_XET=1). Left untested by that: Xet, which
the client uses by default where the Hub offers it (`hf_xet` does its own requests and repetitions;
the resumption of an upload is then per chunk), LFS uploads in several parts, and the Hub itself.
`KIP_HUB_CONTRACT=1` runs the contract tests against whatever HF_ENDPOINT and HF_TOKEN name.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_file
from release.manifest import MANIFEST, Manifest, ManifestFile, check_files, read_manifest
from release.repository import require_version

if TYPE_CHECKING:
    from release.hub import Head, Hub, RemoteFile

KEPT = (".gitattributes",)
"""Files of the repository that no release lists and no push deletes."""

_SHOWN = 3


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


def push(
    folder: Annotated[Path, tyro.conf.Positional],
    repo: str | None = None,
    yes: bool = False,
    create: bool = False,
    public: bool = False,
    tag: str | None = None,
) -> str | None:
    """Publish a release folder on the Hub; a dry run unless --yes.

    The newest commit of the repository holds exactly this release then: files of an earlier one
    that are not in it are deleted, and stay in the history under their tag. A repository with
    files that are of no release is refused.

    The token is taken from the environment variable HF_TOKEN or from `hf auth login`, the server
    from HF_ENDPOINT.

    Examples:
        python -m release push build/release
        python -m release push build/release --yes
        python -m release push build/release --repo me/my-sets --create --yes

    Args:
      folder: made by `release build`.
      repo: data set repository, namespace/name; the one that the folder was built for, which is
        the only one that may be given.
      yes: do it; without, print what would be done and touch nothing.
      create: make the repository if there is none; private.
      public: with --create, make it public.
      tag: of the release; default: the version in its manifest. An existing tag is never moved.

    Returns:
      The commit that has the tag, or None after a dry run.

    Raises:
      UserError: the folder is not as it was built, or a request failed; nothing was tagged then,
        unless the message says that tagging itself may have failed.
    """
    manifest, files = _checked(folder)
    name = manifest.version if tag is None else tag
    require_version(name, "--tag")
    if repo not in (None, manifest.repository):
        raise UserError(
            f"{folder} was built for {manifest.repository}, which its card names: build it with "
            f"--repo {repo}, or leave --repo out"
        )
    from release.hub import Hub  # slow to import, and `python -m release --help` need not wait

    hub = Hub(manifest.repository)
    if yes:
        hub.require_token()
    with hub.session():
        plan = _plan(hub, folder, files, name, create or not yes, public)
        print(_described(plan, hub, files, name, public))
        if plan.released is not None:
            print(f"already released: the tag {name} is on commit {plan.released}")
            return plan.released
        if not yes:
            made = " (with --create)" if plan.head is None and not create else ""
            print(f"dry run: nothing was changed; --yes{made} does it")
            return None
        return _carry_out(plan, hub, folder, files, name, public)


def _checked(folder: Path) -> tuple[Manifest, dict[str, ManifestFile]]:
    """The manifest, and all files to publish by path, itself included."""
    try:
        if (folder / MANIFEST).is_symlink():
            raise UserError(f"{folder / MANIFEST} is a symbolic link: build the release again")
        manifest = read_manifest(folder)
        problems = check_files(folder, manifest)
        path = folder / MANIFEST
        own = ManifestFile(MANIFEST, sha256_of_file(path), path.stat().st_size)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or folder} ({error.strerror})") from error
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise UserError(
            f"{folder} is not as it was built: {'; '.join(problems[:_SHOWN])}{more}; build the "
            "release again"
        )
    return manifest, {entry.path: entry for entry in (*manifest.files, own)}


def _plan(
    hub: Hub,
    folder: Path,
    files: dict[str, ManifestFile],
    tag: str,
    create: bool,
    public: bool,
) -> Plan:
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
        if differences(folder, files, hub.tree(tag)):
            raise UserError(
                f"{hub.repository} has the tag {tag} already, on commit {tagged}, whose files are "
                "not those of this release: a tag is never moved; build a new version, or choose "
                "another --tag"
            )
        return Plan(head, (), (), tagged)
    remote = hub.tree(head.commit) if head.commit else {}
    changed = differences(folder, files, remote)
    delete = tuple(path for path in changed if path not in files)
    if delete and MANIFEST not in remote:
        raise UserError(
            f"{hub.repository} holds {_some(delete)}, of no release, which a push would delete: "
            "remove what is not needed there, or build for another --repo"
        )
    return Plan(head, tuple(path for path in changed if path in files), delete, None)


def differences(
    folder: Path, files: dict[str, ManifestFile], remote: dict[str, RemoteFile]
) -> list[str]:
    """Paths that are missing, changed or too many in `remote`; empty where it is the release."""
    wrong = [path for path, entry in files.items() if not _same(folder, entry, remote.get(path))]
    wrong += [path for path in remote if path not in files and path not in KEPT]
    return sorted(wrong)


def _same(folder: Path, entry: ManifestFile, remote: RemoteFile | None) -> bool:
    if remote is None or remote.size != entry.size:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == entry.sha256
    # The Hub has the git id of a small file only, which is that of the bytes here; and those have
    # to be the manifest's still.
    try:
        content = (folder / entry.path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    return (
        remote.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        and hashlib.sha256(content).hexdigest() == entry.sha256
    )


def _described(plan: Plan, hub: Hub, files: dict[str, ManifestFile], tag: str, public: bool) -> str:
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
        f"tag         {tag}",
    ]
    for path, entry in sorted(files.items()):
        verb = "upload" if path in plan.add else "keep"
        lines.append(f"{verb:<11} {path}  {entry.size:,} bytes")
    lines += [f"delete      {path if path.isprintable() else ascii(path)}" for path in plan.delete]
    size = sum(files[path].size for path in plan.add)
    lines.append(f"{len(plan.add)} files, {size:,} bytes to upload; {len(plan.delete)} to delete")
    return "\n".join(lines)


def _carry_out(
    plan: Plan,
    hub: Hub,
    folder: Path,
    files: dict[str, ManifestFile],
    tag: str,
    public: bool,
) -> str:
    head = plan.head or hub.create(private=not public)
    add, delete = plan.add, plan.delete
    commit = head.commit
    if plan.head is None and commit is not None:  # made meanwhile, or by an earlier try
        changed = differences(folder, files, hub.tree(commit))
        add = tuple(path for path in changed if path in files)
        if strangers := [path for path in changed if path not in files]:
            raise UserError(
                f"{hub.repository} was made by someone else meanwhile and holds "
                f"{_some(strangers)}: nothing was changed; run the same command again to see what "
                "it would do"
            )
    if add or delete or commit is None:
        local = folder.resolve()
        additions = hub.upload([(path, local / path) for path in add])
        commit = hub.commit(
            additions,
            delete,
            parent=head.commit,
            title=f"Release {tag}",
            is_made=lambda made: not differences(folder, files, hub.tree(made)),
        )
        print(f"committed   {commit}")
    wrong = differences(folder, files, hub.tree(commit))
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
