"""Limits for all requests of a push, whichever part of the client sends them.

None waits for ever (the client's session has no limit of its own), and no log record shows the
access token.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from huggingface_hub.utils import get_session

from release.hub.errors import without

TIMEOUT = 120.0
"""Seconds of silence after which a connection counts as lost."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Remove the limit of `limit_waiting` at the end of the block."""
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
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT)


@contextlib.contextmanager
def silent_about(token: str | None) -> Iterator[None]:
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
