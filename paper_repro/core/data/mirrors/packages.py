"""Where a package manager would download a package from, asked of its own client.

npm and apt know their mirrors, so no host is named here: the client returns the address and the
checksum, and `download` does the rest.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paper_repro.core.data.network import without_passwords
from paper_repro.core.errors import Unavailable

_QUERY_SECONDS = 60
_UPDATE_SECONDS = 300
_NPM_OPTIONS = (
    "--json",
    "--no-update-notifier",
    "--fetch-timeout=15000",  # milliseconds
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
)
_URI_LINE = re.compile(
    r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<hex>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Location:
    """An address with what must be found there."""

    url: str
    algorithm: str  # as hashlib names it
    digest: str  # hexadecimal
    size: int | None = None  # bytes, where the client says


@dataclass(frozen=True)
class NpmPackage:
    """One version of an npm package."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"npm package {self.name} {self.version}"

    def locate(self) -> Location:
        """Ask `npm view` for the tarball's address and SHA-512.

        Raises:
          Unavailable: npm is not installed, or reaches no registry that has the package.
        """
        output = _run(["npm", "view", f"{self.name}@{self.version}", "dist", *_NPM_OPTIONS])
        try:
            dist = json.loads(output)
            algorithm, _, encoded = dist["integrity"].partition("-")
            digest = base64.b64decode(encoded, validate=True).hex()
            url = dist["tarball"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unavailable(f"npm reports no address and checksum for {self.name}") from error
        if algorithm not in ("sha512", "sha384", "sha256"):
            raise Unavailable(f"npm reports no usable checksum for {self.name}")
        return Location(url, algorithm, digest)


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package in whatever version the configured suite carries.

    The arrays' own digests decide whether that version holds the right data.
    """

    name: str

    def __str__(self) -> str:
        return f"Debian package {self.name}"

    def locate(self) -> Location:
        """Ask `apt-get --print-uris` for the address, size and SHA-256.

        Without package lists (usual in containers) they are fetched into a private temporary
        directory, which needs no root and leaves the system's as they are.

        Raises:
          Unavailable: apt is not installed, or reaches no mirror that has the package.
        """
        try:
            return self._ask([])
        except Unavailable:
            if shutil.which("apt-get") is None:
                raise
        with tempfile.TemporaryDirectory(prefix="kip-apt-") as directory:
            options = _private_apt(Path(directory))
            _run(["apt-get", *options, "update"], _UPDATE_SECONDS)
            return self._ask(options)

    def _ask(self, options: Sequence[str]) -> Location:
        checksum = ("-o", "Acquire::ForceHash=SHA256")
        command = ["apt-get", *options, *checksum, "--print-uris", "download", self.name]
        for line in _run(command).splitlines():
            if match := _URI_LINE.match(line):
                return Location(match["url"], "sha256", match["hex"], int(match["size"]))
        raise Unavailable(f"apt has no download address for {self.name}")


def _private_apt(directory: Path) -> list[str]:
    lists, cache = directory / "lists", directory / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    settings = {
        "Dir::State::Lists": lists,
        "Dir::Cache": cache,
        "Acquire::Languages": "none",
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": 20,
        "Acquire::https::Timeout": 20,
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",  # the directory is private to this user
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _run(command: Sequence[str], seconds: float = _QUERY_SECONDS) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise Unavailable(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} did not answer within {seconds:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be run ({error})") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
        lines = lines or [line.strip() for line in done.stderr.splitlines() if line[:2] == "E:"]
        reason = without_passwords(lines[0]) if lines else "no reason given"
        raise Unavailable(f"{command[0]} failed: {reason}")
    return done.stdout
