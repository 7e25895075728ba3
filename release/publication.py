"""Where a release is to be published, and under which license."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core.errors import UserError
from release.constants import REPOSITORY
from release.repository import require_repository

LICENSE = "apache-2.0"
"""Of the sets of official data."""

OTHER = "other"
"""What the Hub calls a license that none of its identifiers names."""

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclasses.dataclass(frozen=True)
class Publication:
    """What the card, CITATION.cff and Croissant say of it.

    Attributes:
      repository: on the Hub, `namespace/name`.
      license: an identifier of the Hub, lower case.
    """

    repository: str = REPOSITORY
    license: str = LICENSE

    @property
    def license_url(self) -> str | None:
        """A page with the license's text."""
        if self.license == OTHER:
            return None
        return f"https://choosealicense.com/licenses/{self.license}/"


def publication(
    repository: str, license_id: str | None, records: Sequence[Mapping[str, Any]]
) -> Publication:
    """A checked publication of sets.

    Without a license it is ours if every data set is an official one, and `other` if not: whose
    images they are decides.

    Raises:
      UserError: no such name or identifier can be.
    """
    from paper_repro.core.data.registry import DATASETS

    require_repository(repository)
    if license_id is None:
        official = all(record["dataset"] in DATASETS for record in records)
        license_id = LICENSE if official else OTHER
    if not is_license(license_id):
        raise UserError(
            f"--license {license_id!r} is no identifier: take one of the Hub's, such as "
            f"{LICENSE}, cc-by-4.0 or {OTHER}"
        )
    return Publication(repository, license_id)


def is_license(identifier: object) -> bool:
    """Whether it can be an identifier of the Hub; which ones exist is not checked."""
    return isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) is not None
