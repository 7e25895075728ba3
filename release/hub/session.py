"""The Hub that the environment names, and limits for all requests to it, whoever sends them.

No request waits for ever (the client's session has no limit of its own) or in silence, and no log
record shows the access token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

from huggingface_hub import constants, get_token
from huggingface_hub.utils import get_session

from paper_repro.core.data.network import require_usable_variables, without_passwords
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from release.hub.advice import where_token
from release.hub.errors import without

CONNECT_TIMEOUT = 15.0
"""Seconds to a connection."""
TIMEOUT = 120.0
"""Seconds of silence after which a connection counts as lost."""
NOTICE = 10.0
"""Seconds of waiting after which, and again after which, the user is told."""

_TOKEN = re.compile(r"[!-~]+")


@dataclasses.dataclass(frozen=True)
class Server:
    """A Hub: its address without a slash at the end, and the user's token for it, if there is one.

    Pushing and loading both take it from here, so that they talk to the same one.
    """

    endpoint: str
    token: str | None = dataclasses.field(repr=False)

    @classmethod
    def of_environment(cls) -> Server:
        """The one that HF_ENDPOINT names, with the token of HF_TOKEN or of `hf auth login`.

        Raises:
          UserError: a variable of the network cannot be used, or the token cannot be read or has
            characters no token has.
        """
        require_usable_variables()
        endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        try:
            token = get_token()
        except Exception as error:  # a CI service's token is fetched, which fails in many ways
            kind = type(error).__name__
            raise UserError(
                f"could not read the Hugging Face token ({kind}): {where_token(endpoint)}"
            ) from None
        if token is not None and not _TOKEN.fullmatch(token):
            # The HTTP library would quote it in its own error.
            raise UserError(
                f"the token has a space or an unprintable character; {where_token(endpoint)}"
            )
        return cls(endpoint, token)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """A context for all requests: limits their waiting and keeps the token out of the log.

        Raises:
          UserError: the client cannot be set up with the variables of the environment.
        """
        try:
            get_session()
        except Exception as error:  # what no check above foresees
            reason = without(self.token, without_passwords(f"{type(error).__name__}: {error}"))
            raise UserError(
                f"no connection can be set up ({reason}): correct the variables HTTPS_PROXY, "
                "HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR, or unset them"
            ) from None
        with _silent_about(self.token), _limited():
            yield


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Limit how long requests wait until the end of the block."""
    limit_waiting()
    try:
        yield
    finally:
        hooks = get_session().event_hooks
        kept = [hook for hook in hooks["request"] if hook is not _limit]
        get_session().event_hooks = {**hooks, "request": kept}


def limit_waiting() -> None:
    """Limit how long a request waits. To be called before each: the client replaces sessions."""
    hooks = get_session().event_hooks
    if _limit not in hooks["request"]:
        get_session().event_hooks = {**hooks, "request": [*hooks["request"], _limit]}


def _limit(request: Any) -> None:
    # Not by the session's own setting: some of the client's functions override that with "none".
    limits = dict.fromkeys(("read", "write", "pool"), TIMEOUT)
    request.extensions["timeout"] = {**limits, "connect": min(CONNECT_TIMEOUT, TIMEOUT)}


@contextlib.contextmanager
def telling(doing: str, endpoint: str) -> Iterator[None]:
    """Tell the user every `NOTICE` seconds that the block still waits for an answer."""
    done = threading.Event()

    def tell() -> None:
        seconds = 0.0
        while not done.wait(NOTICE):
            seconds += NOTICE
            say(f"{doing}: waiting for {endpoint} ({seconds:.0f} s)")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _silent_about(token: str | None) -> Iterator[None]:
    """Keep the token out of what the client's loggers print inside the block."""

    def blot(record: logging.LogRecord) -> bool:
        if token and token in record.getMessage():
            record.msg, record.args = without(token, record.getMessage()), None
        return True

    handlers = [*logging.getLogger("huggingface_hub").handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(blot)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(blot)
