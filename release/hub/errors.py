"""Every failure of a request to a Hub as one `UserError` that says what to do next.

The messages may quote a server; the access token and passwords are kept out of them.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import ssl

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from paper_repro.core.data.network import via_proxy, without_passwords
from paper_repro.core.errors import UserError
from release.hub.advice import TRANSIENT, Answer, Asked, advice, not_a_hub

# Of httpx or httpx2, whichever the client uses: what it repeats itself.
_PASSING = {"TimeoutException", "NetworkError", "RemoteProtocolError"}
# Xet has its own transport, whose errors are a text: "... (404 Not Found), domain: http://...".
_XET = re.compile(r"\((\d{3}) [^)]*\), domain: \S*/xet-(?:write|read)-token")
_NO_XET = "set HF_HUB_DISABLE_XET=1 to do without Xet"
_LONGEST = 300
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk says, often without the name of a file."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status of `error`, or of what caused it; None where no answer came."""
    found = _answer(error)
    return found.status if found else None


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: busy, broken or unreachable for now."""
    found = _of_client(error)
    if isinstance(found, HfHubHTTPError):
        return found.response.status_code in TRANSIENT
    kinds = {kind.__name__ for kind in type(found).__mro__}
    return bool(kinds & _PASSING) and not _is_tls(found)


def retry_after(error: BaseException) -> int:
    """Seconds that the server asks to wait; 0 where it asks for none."""
    found = _of_client(error)
    if not isinstance(found, HfHubHTTPError):
        return 0
    asked = found.response.headers.get("Retry-After", "")
    return int(asked) if asked.isdigit() else 0


def user_error(error: BaseException, asked: Asked) -> UserError:
    """`error` as a message to the user: what failed, and what to do next."""
    return UserError(_clean(_text(error, asked), asked))


def in_short(error: BaseException, asked: Asked) -> str:
    """What failed, in some words."""
    answer = _answer(error)
    text = f"answer {answer.status} of {asked.endpoint}" if answer else _kind(_of_client(error))
    return _clean(f"{asked.doing}: {text}", asked)


def without(token: str | None, text: str) -> str:
    """`text` with the token replaced by `<token>`."""
    return text.replace(token, "<token>") if token else text


def _text(error: BaseException, asked: Asked) -> str:
    found, answer, endpoint = _of_client(error), _answer(error), asked.endpoint
    if answer is not None:
        said = answer.said
        if found is not error and not asked.loading:
            # As "Error while uploading 'x'", which names the file.
            said = f"{str(error).splitlines()[0]} {said}"
        text = f"{endpoint} answered {answer.status} ({said}) while {asked.doing}: "
        if isinstance(found, HfHubHTTPError):
            return text + advice(answer, asked)
        if answer.status in (404, 405, 501):
            return text + f"it does not offer Xet; {_NO_XET} and run the same command again"
        return text + f"{advice(answer, asked)}; or {_NO_XET}"
    if isinstance(found, OfflineModeIsEnabled):
        more = ", or give the folder of a download as source" if asked.loading else ""
        return f"HF_HUB_OFFLINE is set: unset it to reach the Hub{more}"
    if isinstance(found, HTTPError):
        reason = f"{_chain(error, found, asked)}{via_proxy(endpoint)}"
        failed = f"the connection to {endpoint} failed while {asked.doing} ({reason}): "
        return failed + _mending(found, asked)
    if isinstance(error, OSError) and (error.filename or error.errno in _DISK):
        reason = (error.strerror or str(error)).lower()
        if asked.loading:
            variable = "HF_HUB_CACHE" if "HF_HUB_CACHE" in os.environ else "HF_HOME"
            return (
                f"the cache {constants.HF_HUB_CACHE} cannot take a download of {asked.repository} "
                f"({reason}): make room there or correct its permissions, set {variable} to a "
                "folder that can be written, or give the folder of a download as source"
            )
        return f"cannot read {error.filename} ({reason}): correct that and run it again"
    failed = f"{asked.doing} of {asked.repository} at {endpoint} failed ({_kind(error)}): "
    if isinstance(error, json.JSONDecodeError | UnicodeError) or not _names_a_fault(error):
        return failed + not_a_hub(asked)
    if asked.doing == "uploading" and _uses_xet():
        return f"{failed}the Xet of this server may be missing or broken: {_NO_XET}"
    storage = advice(Answer(403, str(error)), asked) if "LFS batch" in str(error) else ""
    return failed + (storage or "correct what is named and run it again")


def _mending(found: BaseException, asked: Asked) -> str:
    """What to do about a connection that failed."""
    if _is_tls(found):
        return (
            "the server's certificate is not trusted, or it does not speak TLS: correct "
            "HF_ENDPOINT, or put the certificate of its authority in a file that SSL_CERT_FILE "
            "names (SSL_CERT_DIR a folder of them)"
        )
    kind = type(found).__name__
    if kind == "ProxyError":
        return f"correct or unset {via_proxy(asked.endpoint).rpartition(' ')[2] or 'HTTPS_PROXY'}"
    if not is_transient(found):
        return not_a_hub(asked)
    more = "; what has arrived is not sent again" if asked.doing == "uploading" else ""
    if asked.loading:
        more = ", or give the folder of a download as source"
    return f"check the network and HF_ENDPOINT, then run the same command again{more}"


def _answer(error: BaseException) -> Answer | None:
    """What the server answered, where it did with a status that says no."""
    found = _of_client(error)
    if isinstance(found, HfHubHTTPError):
        response = found.response
        html = "html" in response.headers.get("Content-Type", "").lower()
        said = found.server_message or response.reason_phrase
        if html or said.lstrip().startswith("<"):
            html, said = True, f"{response.reason_phrase}, a page in HTML"
        return Answer(
            response.status_code, said[:_LONGEST], response.headers.get("X-Error-Code", ""), html
        )
    if match := _XET.search(str(error)):
        return Answer(int(match[1]), "on being asked for Xet")
    return None


def _of_client(error: BaseException) -> BaseException:
    """The HTTP error in the chain of causes, where there is one: the client wraps some."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, (HTTPError, OfflineModeIsEnabled)):
            return link
        link = link.__cause__
    return error


def _is_tls(error: BaseException) -> bool:
    """Whether a secure connection was refused for what the server shows, which stays so."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return True
        link = link.__cause__ or link.__context__
    return any(word in str(error) for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"))


def _names_a_fault(error: BaseException) -> bool:
    """Whether it is about what was given; the rest comes of reading an answer of another form."""
    return isinstance(error, (ValueError, RuntimeError, OSError)) and bool(str(error))


def _uses_xet() -> bool:
    return not constants.HF_HUB_DISABLE_XET and importlib.util.find_spec("hf_xet") is not None


def _kind(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _chain(error: BaseException, found: BaseException, asked: Asked) -> str:
    """What failed; where something is pushed, with the file that the client names."""
    if found is error or asked.loading:
        return _kind(found)
    return f"{str(error)[:_LONGEST]} {_kind(found)}"


def _clean(text: str, asked: Asked) -> str:
    return without(asked.token, without_passwords(" ".join(text.split())))
