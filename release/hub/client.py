"""One data set repository on the Hugging Face Hub, as `release.push` needs it.

A thin layer over `huggingface_hub`: every request that fails for a passing reason is repeated, a
bounded number of times, and every one that fails for good ends as a `UserError`. The client
(2.4) repeats by itself, up to five times, what it sends during an upload (pre-upload, LFS batch,
blobs, verification) and the listing of a tree; it does not repeat the rest, which is done here.
A commit or a tag whose answer is lost may have been made: it is looked for before it is repeated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from release.format.publication import require_repository
from release.hub.advice import Asked, where_token
from release.hub.errors import in_short, is_transient, retry_after, status_of, user_error
from release.hub.session import Server, limit_waiting, telling

WAITS = (1, 2, 4, 8)
"""Seconds before each repetition of a request."""
LONGEST_WAIT = 300
"""Seconds; a server that asks for a longer pause (Retry-After) ends the command instead."""

_KIND = "dataset"
_LONGEST_ID = 40  # the client takes no longer one for a parent, and the Hub its first digits
_WITH_BARS = "uploading"  # the client shows bars of its own

Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class Head:
    """The state of the repository: its newest commit (None before the first) and visibility."""

    commit: str | None
    private: bool


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of a commit: `sha256` where it is a large blob, else the id of its git blob."""

    path: str
    size: int
    sha256: str | None
    blob_id: str


class Hub:
    """The repository `repository` (`namespace/name`) at HF_ENDPOINT, with the user's token.

    Raises:
      UserError: the name is not one, or the environment names no server or token that can be used.
    """

    def __init__(self, repository: str):
        require_repository(repository)
        self.repository = repository
        self._server = Server.of_environment()
        self.endpoint, self.token = self._server.endpoint, self._server.token
        self._api = HfApi(endpoint=self.endpoint, token=self.token or False)

    def require_token(self) -> None:
        """Raises `UserError` where no token is set."""
        if self.token is None:
            raise UserError(f"no token is set: {where_token(self.endpoint)}")

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """A context for all requests: limits their waiting and keeps the token out of the log."""
        with self._server.session():
            yield

    def head(self) -> Head | None:
        """The state of the repository; None where none is visible.

        Without a token the Hub answers 401 for one that does not exist, as for a private one.
        """

        def ask() -> Head | None:
            try:
                info = self._api.repo_info(self.repository, repo_type=_KIND)
            except HfHubHTTPError as error:
                status = status_of(error)
                if status == 404 or (status == 401 and self.token is None):
                    return None
                raise
            return Head(info.sha, bool(info.private))

        return self._repeat("reading the repository", ask)

    def create(self, private: bool) -> Head:
        """Make the repository unless it exists by now, and return its state.

        Args:
          private: nobody but its owners may see it. Servers without private repositories take
            that for granted and make a public one, so it is looked at, as somebody without a
            token sees it too.

        Raises:
          UserError: it is not as it was asked for, or is not visible.
        """

        def ask() -> None:
            try:
                self._api.create_repo(self.repository, repo_type=_KIND, private=private)
            except HfHubHTTPError as error:
                if status_of(error) != 409:
                    raise

        self._repeat("creating the repository", ask)
        head = self.head()
        if head is None:
            raise UserError(
                f"{self.repository} was created at {self.endpoint} but is not visible: look at "
                "the permissions of the token there"
            )
        if private and (not head.private or self._is_visible_to_all()):
            raise UserError(
                f"{self.repository} is there now and is public, which is not what was asked for: "
                f"{self.endpoint} makes no private ones, or someone made it meanwhile; nothing "
                "was uploaded: remove it there or set it to private, or say --public"
            )
        return head

    def _is_visible_to_all(self) -> bool:
        def ask() -> bool:
            try:
                self._api.repo_info(self.repository, repo_type=_KIND, token=False)
            except HfHubHTTPError as error:
                if is_transient(error):
                    raise
                return False
            return True

        return self._repeat("looking at the repository without a token", ask)

    def read(self, path: str, revision: str) -> bytes:
        """The content of a file at a commit or tag."""
        url = hf_hub_url(
            self.repository, path, repo_type=_KIND, revision=revision, endpoint=self.endpoint
        )

        def ask() -> bytes:
            answer = get_session().get(url, headers=build_hf_headers(token=self._api.token))
            hf_raise_for_status(answer)
            return answer.content

        return self._repeat(f"reading {path}", ask)

    def tags(self) -> dict[str, str]:
        """Commit of each tag."""

        def ask() -> dict[str, str]:
            refs = self._api.list_repo_refs(self.repository, repo_type=_KIND)
            return {tag.name: tag.target_commit for tag in refs.tags}

        return self._repeat("listing the tags", ask)

    def tree(self, revision: str) -> dict[str, RemoteFile]:
        """All files at a commit or tag, by path."""

        def ask() -> dict[str, RemoteFile]:
            listed = self._api.list_repo_tree(
                self.repository, recursive=True, revision=revision, repo_type=_KIND
            )
            return {
                item.path: RemoteFile(
                    item.path, item.size, item.lfs and item.lfs.sha256, item.blob_id
                )
                for item in listed
                if isinstance(item, RepoFile)
            }

        return self._repeat("listing the files", ask, waits=())

    def upload(self, files: Sequence[tuple[str, Path]]) -> list[CommitOperationAdd]:
        """Upload the large blobs that the Hub does not have yet; they are in no commit so far."""

        def ask() -> list[CommitOperationAdd]:
            additions = [CommitOperationAdd(path, local) for path, local in files]
            self._api.preupload_lfs_files(
                self.repository, additions, repo_type=_KIND, free_memory=False
            )
            return additions

        return self._repeat("uploading", ask, waits=())

    def commit(
        self,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str],
        parent: str | None,
        title: str,
        is_made: Callable[[str], bool],
    ) -> str:
        """One commit on main whose parent must be `parent`; returns its id.

        Args:
          is_made: whether a commit holds what this one is to hold. A commit whose answer was lost
            is recognised by it.
        """
        operations = [*additions, *(CommitOperationDelete(path) for path in deletions)]

        def ask() -> str:
            try:
                made = self._api.create_commit(
                    self.repository,
                    operations,
                    commit_message=title,
                    repo_type=_KIND,
                    parent_commit=parent and parent[:_LONGEST_ID],
                )
            except HTTPError as error:
                if status_of(error) != 412 and not is_transient(error):
                    raise
                head = self.head()
                if head is None or head.commit in (None, parent):
                    raise
                if not is_made(head.commit):
                    raise UserError(
                        f"someone else committed to {self.repository} meanwhile: look at commit "
                        f"{head.commit}, then run the same command again; nothing was tagged"
                    ) from error
                return head.commit
            return made.oid

        return self._repeat("committing", ask)

    def tag(self, name: str, commit: str) -> None:
        """Tag `commit`. An existing tag is never moved."""

        def ask() -> None:
            try:
                self._api.create_tag(self.repository, tag=name, revision=commit, repo_type=_KIND)
            except HTTPError as error:
                if status_of(error) != 409 and not is_transient(error):
                    raise
                target = self.tags().get(name)
                if target is None:
                    raise
                if target != commit:
                    raise UserError(
                        f"the tag {name} was made meanwhile and points to {target}, not to the "
                        f"commit {commit} of this push: a tag is never moved; choose another --tag"
                    ) from error

        self._repeat("tagging", ask)

    def _repeat(
        self, doing: str, ask: Callable[[], Answer], waits: Sequence[float] | None = None
    ) -> Answer:
        """The result of `ask()`, repeated after each wait while its failure may pass."""
        asked = Asked(doing, self.repository, self.endpoint, self.token)
        waits = WAITS if waits is None else waits
        for n, wait in enumerate((*waits, None), 1):
            limit_waiting()
            try:
                with (
                    contextlib.nullcontext()
                    if doing == _WITH_BARS
                    else telling(doing, self.endpoint)
                ):
                    return ask()
            except UserError:
                raise
            except Exception as error:  # of the client, which takes any answer for that of a Hub
                pause = retry_after(error)
                if wait is None or not is_transient(error) or pause > LONGEST_WAIT:
                    raise user_error(error, asked) from None
                wait = max(wait, pause)
                say(f"{in_short(error, asked)}; trying again in {wait} s ({n} of {len(waits)})")
                time.sleep(wait)
        raise AssertionError("the last wait is None")
