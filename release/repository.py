"""Names of data set repositories on the Hub."""

from __future__ import annotations

from paper_repro.core.errors import UserError


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
