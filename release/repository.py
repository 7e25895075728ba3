"""Names of data set repositories on the Hub, and of their tags."""

from __future__ import annotations

import re

from paper_repro.core.errors import UserError

_VERSION = re.compile(r"(?!main$|[0-9a-f]{7,40}$)[A-Za-z0-9](?:[._+-]?[A-Za-z0-9])*")


def require_version(name: str, option: str) -> None:
    """Check that `name` can be the tag of a release.

    Raises:
      UserError: it cannot; `option` is named.
    """
    if not _VERSION.fullmatch(name) or name.endswith(".lock"):
        raise UserError(f"{option} {name!r} cannot be the tag of a release: use one like v1.0.0")


def require_repository(name: str) -> None:
    """Check that `name` can be a repository, `namespace/name`.

    Raises:
      UserError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--repo {name!r} is not a repository name: {error}") from error
    if name.count("/") != 1:
        raise UserError(f"--repo {name!r} must be namespace/name")
