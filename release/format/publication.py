"""Where a release is published, by whom, as which version, under which license."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from paper_repro.core.data.network import library
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.errors import UserError
from paper_repro.core.methods import has_natural_images
from paper_repro.core.sets.record import is_given

REPOSITORY = "kip-repro/distilled-datasets"
"""The dataset repository on the Hugging Face Hub; the one place that names it."""

VERSION = "v1.0.0"
"""The version of a release whose build names no other: the tag of a push, the revision a reader
asks for."""

PAGES = "https://huggingface.co/datasets/"
"""What the addresses of repositories on the Hub begin with."""

MAINTAINERS = "the kip-repro maintainers"
"""Who is named as the author of what goes to `REPOSITORY`."""

LICENSE = "apache-2.0"
"""The license of images learned from official data."""

OTHER = "other"
"""What the Hub calls a license that none of its identifiers names."""

_VERSION = re.compile(r"(?!main$|[0-9a-f]{7,40}$)[A-Za-z0-9](?:[._+-]?[A-Za-z0-9])*")
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclasses.dataclass(frozen=True)
class Publication:
    """What the card, CITATION.cff and Croissant say of it.

    Attributes:
      repository: the repository on the Hub, `namespace/name`.
      license: an identifier of the Hub, lower case.
      version: the version of the release, as `v1.0.0`.
      creator: a person or group.
      base_url: where the files are served; "" for the Hub, under the tag of the version.
    """

    repository: str = REPOSITORY
    license: str = LICENSE
    version: str = VERSION
    creator: str = MAINTAINERS
    base_url: str = ""

    @property
    def url(self) -> str:
        """The address of the repository's page."""
        return f"{PAGES}{self.repository}"

    @property
    def files_url(self) -> str:
        """The address below which every file of the release has its path."""
        return (self.base_url or f"{self.url}/resolve/{quote(self.version)}").rstrip("/")


def publication(
    records: Sequence[Mapping[str, Any]],
    repository: str = REPOSITORY,
    license_id: str | None = None,
    version: str = VERSION,
    creator: str | None = None,
    base_url: str = "",
) -> Publication:
    """A checked publication of sets.

    Without a license it is ours if every image was learned here from an official data set, and
    `other` if not: natural images, those of one's own, and sets that were given as arrays stay
    under the terms they came with. Without a creator it is the namespace of the repository.

    Raises:
      UserError: no such name, identifier or version can be.
    """
    require_repository(repository)
    require_version(version, "--version")
    if creator is None:
        creator = MAINTAINERS if repository == REPOSITORY else repository.split("/")[0]
    if not creator.strip() or not creator.isprintable():
        raise UserError(f"--creator {creator!r} is not a name")
    if license_id is None:
        learned = all(
            r["dataset"] in DATASETS and not has_natural_images(r) and not is_given(r)
            for r in records
        )
        license_id = LICENSE if learned else OTHER
    if not is_license(license_id):
        raise UserError(
            f"--license {license_id!r} is not an identifier: take one of the Hub's, such as "
            f"{LICENSE}, cc-by-4.0 or {OTHER}"
        )
    if base_url:
        require_address(base_url, "--base-url")
    return Publication(repository, license_id, version, creator, base_url)


def require_address(url: str, option: str) -> None:
    """Check that files can be fetched below `url`.

    Raises:
      UserError: it is no http or https address of a folder; `option` is named.
    """
    parts = urlsplit(url)
    plain = url.isprintable() and not any(mark in url for mark in ' "<>\\')
    if parts.scheme not in ("http", "https") or not parts.netloc or not plain:
        raise UserError(f"{option} {url!r} is not an address: give one like https://host/folder")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{option} may have no password, query or fragment: it is published")


def is_license(identifier: object) -> bool:
    """Whether `identifier` has the form of a license identifier of the Hub; it may not exist."""
    return isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) is not None


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
    hub = library("huggingface_hub.utils")
    try:
        hub.validate_repo_id(name)
    except hub.HFValidationError as error:
        raise UserError(f"--repo {name!r} is not a repository name: {error}") from error
    if name.count("/") != 1:
        raise UserError(f"--repo {name!r} must be namespace/name")
