"""The environment variables that say how servers are reached, checked before a library reads them.

A value that cannot be used makes the libraries stop with a traceback, some of them when they are
imported, and what they raise may quote a password. Here it is one line with the variable's name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import ssl
import urllib.request
from types import ModuleType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from paper_repro.core.errors import UserError

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_ENCODED = "in a password, characters such as # / ? @ [ are percent-encoded (# is %23)"
_PASSWORD = re.compile(r"(:/{1,2})[^\s/'\"]*@")


def require_usable_variables() -> None:
    """Check HF_ENDPOINT, the proxies, SSL_CERT_FILE and the client's time limits.

    Raises:
      UserError: one cannot be used; its name is given, never its value, which may hold a password.
    """
    if "HF_ENDPOINT" in os.environ:
        _require_endpoint(os.environ["HF_ENDPOINT"])
    for name in _SECONDS:
        value = os.environ.get(name)
        if value is not None and not re.fullmatch(r"\s*[0-9]+\s*", value):
            raise UserError(f"{name} has to be a whole number of seconds: correct or unset it")
    for name, value in _proxies().values():
        _require_proxy(name, value)
    if path := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=path)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            why = "is not a file" if os.path.exists(path) else "is not there"
            if os.path.isfile(path):
                denied = isinstance(error, PermissionError)
                why = "cannot be read" if denied else "holds no certificate"
            raise UserError(
                f"the file that SSL_CERT_FILE names {why} ({path}): give a file of certificates in "
                "PEM format, or unset SSL_CERT_FILE"
            ) from error


def library(name: str) -> ModuleType:
    """`datasets` or a module of `huggingface_hub`, which read variables when they are imported.

    Raises:
      UserError: a variable keeps it from being imported.
    """
    try:
        return importlib.import_module(name)
    except ValueError:
        require_usable_variables()
        raise


def open_url(request: urllib.request.Request, seconds: float) -> Any:
    """The answer to `request`, through the proxy that the environment names now.

    `urllib.request.urlopen` keeps to those of its first call in a process.
    """
    return urllib.request.build_opener().open(request, timeout=seconds)


def proxy_variable(url: str) -> str | None:
    """The name of the variable whose proxy stands between here and `url`, if one does."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = _proxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found[0] if found else None


def via_proxy(url: str) -> str:
    """`, through the proxy of HTTPS_PROXY` where there is one, for a message on `url`."""
    name = proxy_variable(url)
    return f", through the proxy of {name}" if name else ""


def without_passwords(text: str) -> str:
    """`text` without the user and password of any address, and without the values of proxies.

    Example:
      >>> without_passwords("http://me:secret@proxy:8080 refused")
      'http://<user>@proxy:8080 refused'
    """
    for name, value in _proxies().values():
        if "@" in value:
            text = text.replace(value, f"<{name}>").replace(value.rpartition("@")[0], "<user>")
    return _PASSWORD.sub(r"\1<user>@", text)


def _proxies() -> dict[str, tuple[str, str]]:
    """The variable in force and its value for "http", "https" and "all".

    The lower case wins, as in the libraries, and an empty one switches the upper case off.
    """
    found = {}
    if "*" in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        return found
    for upper in _PROXIES:
        name = upper.lower() if upper.lower() in os.environ else upper
        if value := os.environ.get(name):
            found[upper.removesuffix("_PROXY").lower()] = name, value
    return found


def _require_endpoint(value: str) -> None:
    name, correct = "HF_ENDPOINT", "correct or unset it"
    if not re.match(r"https?://", value):
        found = "has to start with http:// or https://" if value else "is empty"
        raise UserError(f"{name} {found}: {correct}")
    parts = _parts(name, value)
    if parts.query or parts.fragment:
        raise UserError(f"{name} has to be an address without ? and #: {correct}")
    if "@" in parts.netloc:
        raise UserError(
            f"{name} holds a user name, which would be sent in place of the token: leave it out"
        )


def _require_proxy(name: str, value: str) -> None:
    correct = "correct or unset it (as http://host:port, or http://user:password@host:port)"
    parts = _parts(name, value if "://" in value else f"http://{value}")
    more = parts.query or parts.fragment or parts.path not in ("", "/")
    if more or parts.hostname in _PROXY_SCHEMES:
        raise UserError(f"{name} is not the address of a proxy: {correct}; {_ENCODED}")
    if parts.scheme not in _PROXY_SCHEMES:
        raise UserError(
            f"{name} names a proxy of the kind {parts.scheme}, and none but "
            f"{', '.join(_PROXY_SCHEMES)} can be used: {correct}"
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UserError(
            f"{name} names a SOCKS proxy, which takes one more package: pip install socksio, or "
            f"unset {name}"
        )


def _parts(name: str, value: str) -> SplitResult:
    """The parts of an address that has a host and, if any, a port that is a number."""
    if _UNPRINTABLE.search(value):
        raise UserError(f"{name} holds a space or an unprintable character: correct or unset it")
    try:
        parts = urlsplit(value)
        bare = not parts.hostname or parts.port == 0
    except ValueError as error:
        wrong = "a port that is no number up to 65535" if "ort" in str(error) else "no valid host"
        # Such as http://user:p#ss@proxy, whose "port" ends at the #.
        more = f"; {_ENCODED}" if "@" in value else ""
        raise UserError(f"{name} has {wrong}: correct or unset it{more}") from None
    if bare:
        raise UserError(f"{name} is no address with a host (and a port): correct or unset it")
    return parts
