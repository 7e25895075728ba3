"""What to do about an answer of a Hub: one table, for pushing and for loading.

"Run the same command again" is said only of what may pass by itself.
"""

from __future__ import annotations

import dataclasses
import re

from paper_repro.core.data.network import proxy_variable

PUBLIC_HUB = "https://huggingface.co"
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Statuses of answers that may be others some time later."""

_AGAIN = "run the same command again"
# As in "Private repository storage limit reached, please upgrade your plan ..." and "Your storage
# patterns tripped our internal systems!", which the Hub says with the status of a wrong token.
_STORAGE = re.compile(r"storage|quota|\bspace\b|billing|upgrade your plan|payment", re.IGNORECASE)
_NOT_OFFERED = "the server at {endpoint} does not offer this: correct HF_ENDPOINT"
_ACCOUNT = (
    "the account has no storage or credit left for this, which another token does not change: "
    "free some, or see its storage and billing settings at {endpoint}"
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request, as far as advice depends on it.

    Attributes:
      doing: what it is for, as in "while reading the repository".
      repository: the data set repository, `namespace/name`.
      endpoint: the address of the server.
      token: the user's token, None where there is none.
      loading: a release is loaded, not pushed.
      revision: what is loaded of the repository.
    """

    doing: str
    repository: str
    endpoint: str
    token: str | None = dataclasses.field(default=None, repr=False)
    loading: bool = False
    revision: str | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
      status: of HTTP.
      said: its message.
      code: its X-Error-Code, "" where it has none.
      html: it is a page and not JSON or text.
    """

    status: int
    said: str = ""
    code: str = ""
    html: bool = False


_PUSH = {
    400: "nothing was tagged; correct the release or {repository} and run it again",
    401: "{bad_token}; {where_token}",
    402: _ACCOUNT,
    403: "the token may not write to {repository}; {where_token}",
    404: "{repository} is not visible (any more), or the server at {endpoint} does not offer this: "
    "correct --repo or HF_ENDPOINT",
    405: _NOT_OFFERED,
    407: "the proxy wants a user and a password: put them in {proxy}",
    408: f"the server lost patience: {_AGAIN}",
    409: "something of that name was made meanwhile: look at the repository, then run again",
    412: "someone else committed to {repository} meanwhile: look at what they did, then " + _AGAIN,
    413: "the server at {endpoint}, or a proxy before it, takes no request of that size: its "
    "operator has to raise the limit, or the release has to be smaller",
    429: f"too many requests: wait some minutes, then {_AGAIN}",
    501: _NOT_OFFERED,
    505: _NOT_OFFERED,
    507: "the server at {endpoint} has no space left: its operator has to free some, or choose "
    "another server by HF_ENDPOINT",
    508: _NOT_OFFERED,
    511: "the network asks you to log in: do so in a browser, then " + _AGAIN,
}
# Of a push, while it looks at what is there: all that a dry run does.
_LOOK = {
    **_PUSH,
    400: "correct --repo or HF_ENDPOINT",
    403: "{may_not_read} {repository}; {where_token}",
}
_LOAD = {
    **_PUSH,
    400: "correct the name of the repository or the revision",
    403: "{may_not_read} {repository}; {where_token}",
    404: "there is no data set {repository}{at_revision} at {endpoint}, or it may not be seen "
    "with this token: correct the source, the revision or HF_ENDPOINT, or give a folder",
}


def advice(answer: Answer, asked: Asked) -> str:
    """What the user has to do about `answer`."""
    looks = asked.doing.startswith(("reading", "listing", "looking"))
    table = _LOAD if asked.loading else _LOOK if looks else _PUSH
    status = answer.status
    if 500 <= status < 600 and status not in table:
        text = f"the server has a problem: wait, then {_AGAIN}"
    elif status in (403, 413) and _STORAGE.search(answer.said):
        text = _ACCOUNT
    elif answer.code == "GatedRepo":
        text = "ask for access at {endpoint}/datasets/{repository}, then " + _AGAIN
    elif answer.code == "RevisionNotFound" and asked.loading:
        text = "{repository} has no revision {revision}: correct or leave out the revision"
    else:
        text = table.get(status, table[400])
    if answer.html and status in (400, 401, 403, 404, 405):
        text = not_a_hub(asked)
    return text.format(
        repository=asked.repository,
        endpoint=asked.endpoint,
        revision=repr(asked.revision),
        at_revision="" if asked.revision is None else f" with a revision {asked.revision!r}",
        bad_token="no token is set" if asked.token is None else "the token is not valid",
        may_not_read="no token is set, which it takes to read"
        if asked.token is None
        else "the token may not read",
        where_token=where_token(asked.endpoint, "read" if asked.loading else "write"),
        proxy=proxy_variable(asked.endpoint) or "HTTPS_PROXY or HTTP_PROXY",
    )


def not_a_hub(asked: Asked) -> str:
    """For an answer that no Hub gives, as the page of a portal or of another server."""
    name = proxy_variable(asked.endpoint)
    return (
        f"that is not the answer of a Hub: correct HF_ENDPOINT ({asked.endpoint})"
        + (f", look at the proxy of {name}" if name else "")
        + ", or log in where the network asks for it"
    )


def where_token(endpoint: str, permission: str = "write") -> str:
    """Where a token comes from and where it has to be put."""
    page = f"{endpoint}/settings/tokens" if endpoint == PUBLIC_HUB else f"from {endpoint}"
    return (
        f"put a token with {permission} permission ({page}) in the environment variable HF_TOKEN, "
        "or run `hf auth login`"
    )
