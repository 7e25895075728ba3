"""Download one verified file, with a progress bar, retries and resumption."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import urlsplit

from paper_repro.core.data.mirrors.packages import Location
from paper_repro.core.data.network import open_url, via_proxy, without_passwords
from paper_repro.core.data.notice import byte_progress
from paper_repro.core.errors import Unavailable, UserError

_ATTEMPTS = 3
_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 18
_MAX_BYTES = 1 << 30


@contextlib.contextmanager
def download(location: Location, label: str) -> Iterator[BinaryIO]:
    """Yield the downloaded file, rewound; it vanishes afterwards, also when the process is killed.

    A broken connection is retried and resumes where it stopped if the server can.

    Raises:
      Unavailable: no connection, or the content is not what `location` promises.
      UserError: the temporary directory is full or cannot be written.
    """
    if urlsplit(location.url).scheme not in ("http", "https", "file"):
        raise Unavailable(f"cannot download from {location.url}")
    with _temporary_file() as file:
        _fetch(location, label, file)
        file.seek(0)
        digest = hashlib.file_digest(file, location.algorithm).hexdigest()
        if digest != location.digest:
            raise Unavailable(
                f"the download from {location.url} is damaged: {location.algorithm} is "
                f"{digest}, expected {location.digest}"
            )
        file.seek(0)
        yield file


def _fetch(location: Location, label: str, file: BinaryIO) -> None:
    with byte_progress() as progress:
        task = progress.add_task(label, total=location.size)
        for attempt in range(_ATTEMPTS):
            try:
                _append(location, file, progress, task)
                return
            # A ValueError: the address of a proxy that cannot be used.
            except (http.client.HTTPException, OSError, ValueError) as error:
                if attempt + 1 == _ATTEMPTS or not _may_pass(error):
                    reason = f"{without_passwords(str(error))}{via_proxy(location.url)}"
                    raise Unavailable(f"cannot download {location.url} ({reason})") from error
                time.sleep(2**attempt)


def _may_pass(error: Exception) -> bool:
    """Whether the same download may succeed some seconds later."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    if isinstance(error, urllib.error.URLError):  # a certificate that is not trusted stays so
        return not isinstance(error.reason, (str, ssl.SSLCertVerificationError))
    return not isinstance(error, (ValueError, http.client.InvalidURL))


def _append(location: Location, file: BinaryIO, progress, task) -> None:
    start = file.seek(0, 2)
    headers = {"User-Agent": "kip-repro", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(location.url, headers=headers)
    with open_url(request, _TIMEOUT) as response:
        if start and response.status != http.client.PARTIAL_CONTENT:
            file.seek(0)
            file.truncate()
            start = 0
        length = response.headers.get("Content-Length")
        expected = start + int(length) if length and length.isdigit() else location.size
        progress.update(task, completed=start, total=expected)
        while chunk := response.read(_CHUNK):
            _write(file, chunk)
            start += len(chunk)
            progress.update(task, completed=start)
            if start > _MAX_BYTES:
                raise Unavailable(f"{location.url} is larger than expected")
    if expected is not None and start < expected:
        raise http.client.IncompleteRead(b"", expected - start)


def _temporary_file() -> BinaryIO:
    try:
        return tempfile.TemporaryFile(prefix="kip-download-")
    except OSError as error:
        raise _no_room(error) from error


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(
        f"cannot keep a download in the temporary directory ({reason}): free some space there or "
        "set TMPDIR to a directory on another disk"
    )
