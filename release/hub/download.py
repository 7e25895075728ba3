"""Files of a repository at one commit, fetched into the cache of `huggingface_hub`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from paper_repro.core.errors import UserError
from release.hub.advice import Asked
from release.hub.errors import user_error
from release.hub.session import Server, telling


def download(repository: str, revision: str | None, paths: Sequence[str]) -> Path:
    """The snapshot of a data set repository with these files in it, in so far as it has them.

    What the cache has is used where the Hub cannot be reached. The folder is named after the
    commit.

    Args:
      repository: `namespace/name`, at the server that HF_ENDPOINT names.
      revision: tag, branch or commit; the newest when None.
      paths: the files.

    Raises:
      UserError: no repository name, no such repository or revision, no access, no connection.
    """
    server = Server.of_environment()
    asked = Asked(
        "reading the release",
        repository,
        server.endpoint,
        server.token,
        loading=True,
        revision=revision,
    )
    with server.session(), telling(f"reading {repository}", server.endpoint):
        try:
            return Path(
                snapshot_download(
                    repository,
                    repo_type="dataset",
                    revision=revision,
                    allow_patterns=list(paths),
                    endpoint=server.endpoint,
                    token=server.token or False,
                )
            )
        except HFValidationError as error:
            raise UserError(f"{repository!r} is neither a folder nor a repository name") from error
        except Exception as error:  # of the client, which takes any answer for that of a Hub
            raise user_error(error, asked) from error
