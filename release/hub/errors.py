"""Every failure of a request to the Hub as one `UserError` that says what to do next.

The messages may quote a server; the access token is kept out of them.
"""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from paper_repro.core.errors import UserError

WHERE_TOKEN = (
    "put a token with write permission (https://huggingface.co/settings/tokens) in the "
    "environment variable HF_TOKEN, or run `hf auth login`"
)
_TRANSIENT = (408, 429, 500, 502, 503, 504)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of `error`, or of what caused it; None where no answer came."""
    found = _of_client(error)
    return found.response.status_code if isinstance(found, HfHubHTTPError) else None


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: busy, broken or unreachable for now."""
    found = _of_client(error)
    if isinstance(found, HfHubHTTPError):
        return found.response.status_code in _TRANSIENT
    return isinstance(found, HTTPError)


def retry_after(error: BaseException) -> int:
    """Seconds that the server asks to wait; 0 where it asks for none."""
    found = _of_client(error)
    if not isinstance(found, HfHubHTTPError):
        return 0
    asked = found.response.headers.get("Retry-After", "")
    return int(asked) if asked.isdigit() else 0


def user_error(
    error: Exception, *, doing: str, repository: str, endpoint: str, token: str | None
) -> UserError:
    """`error` as a message to the user: what failed while `doing` what, and what to do next."""
    found = _of_client(error)
    if isinstance(found, HfHubHTTPError):
        status = found.response.status_code
        said = found.server_message or found.response.reason_phrase
        if found is not error:  # as "Error while uploading 'x'", which names the file
            said = f"{str(error).splitlines()[0]} {said}"
        advice = _advice(status, repository, token)
        text = f"the Hub answered {status} ({said}) while {doing}: {advice}"
    elif isinstance(found, OfflineModeIsEnabled):
        text = "HF_HUB_OFFLINE is set: unset it to reach the Hub"
    elif isinstance(found, HTTPError):
        text = (
            f"the connection to {endpoint} failed while {doing} ({_chain(error, found)}): check "
            "the network and HF_ENDPOINT, then run the same command again; blobs that were "
            "uploaded are kept"
        )
    elif isinstance(error, OSError) and error.filename:
        reason = (error.strerror or str(error)).lower()
        text = f"cannot read {error.filename} ({reason}): correct that and run it again"
    else:
        text = f"{doing} {repository} failed ({_kind(error)}): run the same command again"
    return UserError(without(token, " ".join(text.split())))


def without(token: str | None, text: str) -> str:
    """`text` with the token replaced by `<token>`."""
    return text.replace(token, "<token>") if token else text


def _advice(status: int, repository: str, token: str | None) -> str:
    if status == 401:
        wrong = "no token is set" if token is None else "the token is not valid"
        return f"{wrong}; {WHERE_TOKEN}"
    if status == 403:
        return f"the token may not write to {repository}; {WHERE_TOKEN}"
    if status == 404:
        return f"no repository {repository} is visible: correct --repo, or add --create to make it"
    if status == 409:
        return "something of that name was made meanwhile: look at the repository, then run again"
    if status == 412:
        return (
            f"someone else committed to {repository} meanwhile: look at what they did, then run "
            "the same command again"
        )
    if status == 429:
        return "too many requests: wait some minutes, then run the same command again"
    if status >= 500:
        return "the server has a problem: wait, then run the same command again"
    return f"nothing was tagged; correct the release or {repository} and run it again"


def _of_client(error: BaseException) -> BaseException:
    """The HTTP error in the chain of causes, where there is one: the client wraps some."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, (HTTPError, OfflineModeIsEnabled)):
            return link
        link = link.__cause__
    return error


def _kind(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _chain(error: BaseException, found: BaseException) -> str:
    return _kind(found) if found is error else f"{error} {_kind(found)}"
