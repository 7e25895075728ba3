"""Publish a release folder on the Hugging Face Hub: one commit, then one tag.

    python -m release push build/release            # prints what it would do
    python -m release push build/release --yes      # does it

The order is: `release verify` of the folder; the repository, its newest commit and its tags;
the large blobs; one commit against that parent; the files of that commit against the manifest;
the tag. A tag therefore always points to a complete release. Every step that is done already is
skipped, so the same command run again finishes what was interrupted.

The tests run this with the real client against a Hub on the loopback interface that takes large
files by the LFS protocol, in one part or in several (HF_HUB_DISABLE_XET=1). Left untested by that:
Xet, which the client uses by default, whether the server offers it or not (`hf_xet` does its own
requests and repetitions; the resumption of an upload is then per chunk), and the Hub itself.
`KIP_HUB_CONTRACT=1` runs the contract tests against whatever HF_ENDPOINT and HF_TOKEN name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from paper_repro.core import lazy
from paper_repro.core.data.network import require_usable_variables
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_file
from release.format.manifest import MANIFEST, Manifest, ManifestFile, check_files, read_manifest
from release.format.publication import require_version
from release.verify import verify

if TYPE_CHECKING:
    from release.hub import client
    from release.hub import plan as planning
else:
    client = lazy.module("release.hub.client")
    planning = lazy.module("release.hub.plan")

_SHOWN = 3


def push(
    folder: Annotated[Path, tyro.conf.Positional],
    repo: str | None = None,
    yes: bool = False,
    create: bool = False,
    public: bool = False,
    tag: str | None = None,
) -> str | None:
    """Publish a release folder on the Hub; a dry run unless --yes.

    The folder is verified first. The newest commit of the repository then holds this release:
    files of the one before that are not in it are deleted, and stay in the history under their
    tag. What people added to the repository or changed in it is named and left, unless the release
    has a file of that name. A repository with files but no release is refused.

    A repository that --create makes is private unless you say --public, and nothing is uploaded
    before it is found to be so.

    The token is taken from the environment variable HF_TOKEN or from `hf auth login`, the server
    from HF_ENDPOINT. Large files go by Xet; where the server has none, set HF_HUB_DISABLE_XET=1.

    Examples:
        python -m release push build/release
        python -m release push build/release --yes
        python -m release push build/mine --create --yes

    Args:
      folder: made by `release build`.
      repo: data set repository, namespace/name; the one that the folder was built for, which is
        the only one that may be given.
      yes: do it; without, print what would be done and touch nothing.
      create: make the repository if there is none; private.
      public: the repository that --create makes is public.
      tag: the tag of the release; default: the version in its manifest. An existing tag is
        never moved.

    Returns:
      The commit that has the tag, or None after a dry run.

    Raises:
      UserError: the folder is not as it was built or does not verify, or a request failed; nothing
        was tagged then, unless the message says that tagging itself may have failed.
    """
    prepared = _prepared(folder, repo, yes, tag)
    say(f"verifying {folder}")
    verify(folder)
    return _published(*prepared, yes, create, public)


def publish(
    folder: Path,
    repo: str | None = None,
    yes: bool = False,
    create: bool = False,
    public: bool = False,
    tag: str | None = None,
) -> str | None:
    """`push` of a folder that was verified; arguments and result as there.

    Raises:
      UserError: as there.
    """
    return _published(*_prepared(folder, repo, yes, tag), yes, create, public)


def _prepared(
    folder: Path, repo: str | None, yes: bool, tag: str | None
) -> tuple[planning.Release, client.Hub, str]:
    """The release, the repository and the version, after all checks that need no request."""
    manifest, files = _checked(folder)
    name = manifest.version if tag is None else tag
    require_version(name, "--tag")
    if repo not in (None, manifest.repository):
        raise UserError(
            f"{folder} was built for {manifest.repository}, which its card names: build it with "
            f"--repo {repo}, or leave --repo out"
        )
    require_usable_variables()  # before the client reads them, when it is imported
    hub = client.Hub(manifest.repository)
    if yes:
        hub.require_token()
    return planning.Release(folder, files, name), hub, manifest.version


def _published(
    release: planning.Release, hub: client.Hub, version: str, yes: bool, create: bool, public: bool
) -> str | None:
    with hub.session():
        plan = planning.plan(hub, release, create or not yes, public)
        print(planning.described(plan, hub, release, public))
        if release.tag != version:
            print(f"note        the card and the manifest say {version}, not {release.tag}")
        if plan.released is not None:
            print(f"already released: the tag {release.tag} is on commit {plan.released}")
            return plan.released
        if not yes:
            made = " (with --create)" if plan.head is None and not create else ""
            print(f"dry run: nothing was changed; --yes{made} does it")
            return None
        return planning.carry_out(plan, hub, release, public)


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
