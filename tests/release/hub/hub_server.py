"""A Hub on the loopback interface, for the real clients: `serve_hub()`, or as a process

    python tests/release/hub/hub_server.py

which prints HF_ENDPOINT and HF_TOKEN and serves until it is ended. Data set repositories only:
create, delete, info, refs, tree, paths-info, pre-upload, LFS batch with transfer in one or several
parts, verify, commit, tag, resolve (large files redirect to another origin, as to a CDN), whoami.
No Xet.

How other servers differ is a switch of `serve_hub`: see `hub_store.Manners`. Faults are set on the
running server: see `Hub.fail`, `Hub.cut`, `Hub.before`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from hub_routes import ROUTES
from hub_store import WRITE_TOKEN, Manners, Refused, Repository, Store

PAGE = b"<!DOCTYPE html><html><body>Please log in to the network.</body></html>"


@dataclasses.dataclass
class Fault:
    """What happens to the next `times` requests that match, after `skip` that pass."""

    method: str
    route: re.Pattern
    kind: str
    times: int
    skip: int = 0
    status: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b'{"error": "planned"}'
    callback: Callable[[], None] | None = None


class Hub:
    """A running server: its address, its store, what was asked of it, and its faults."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.store = Store(manners)
        self.endpoint = ""
        self.asked: list[tuple[str, str]] = []
        self.uploaded: list[str] = []
        self.leaks: list[str] = []
        self.corrupt: set[str] = set()
        self.page_size = 1000
        self.lock = threading.Lock()
        self._faults: list[Fault] = []

    def repository(self, name: str) -> Repository:
        return self.store.repositories[name]

    def fail(self, method, route, status, times=1, skip=0, body=Fault.body, **headers) -> None:
        """Answer with `status` and `body`; a large `times` means for ever."""
        self._add(Fault(method, re.compile(route), "status", times, skip, status, headers, body))

    def cut(self, method, route, times=1, skip=0, when="body") -> None:
        """Close the connection in the request's body, or when its work is done ("answer")."""
        self._add(Fault(method, re.compile(route), when, times, skip))

    def before(self, method, route, callback) -> None:
        """Call `callback()` once, before a matching request is handled."""
        self._add(Fault(method, re.compile(route), "call", 1, callback=callback))

    def heal(self) -> None:
        with self.lock:
            self._faults.clear()

    def count(self, method: str, route: str) -> int:
        """How many such requests have come in."""
        return sum(m == method and re.search(route, r) is not None for m, r in self.asked)

    def _add(self, fault: Fault) -> None:
        with self.lock:
            self._faults.append(fault)

    def due(self, method: str, route: str) -> Fault | None:
        with self.lock:
            self.asked.append((method, route))
            for fault in self._faults:
                if fault.method != method or not fault.route.search(route) or not fault.times:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None


class Exchange(BaseHTTPRequestHandler):
    """One request; `hub` is set on the subclass that `serve_hub` makes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: in two, the second would wait for an acknowledgement
    disable_nagle_algorithm = True
    hub: Hub

    def handle_any(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            parts = urlsplit(self.path)
            # A revision or a path may hold quoted slashes: matched quoted, unquoted after.
            self.route, self.query = parts.path, parse_qs(parts.query)
            fault = self.hub.due(self.command, self.route)
            if fault and fault.kind == "body":
                self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
                return self.hang_up()
            self.body = self.read_body()
            if fault and fault.kind == "status":
                return self.send(fault.status, fault.body, fault.headers)
            if fault and fault.kind == "call":
                fault.callback()
            self.silent = fault is not None and fault.kind == "answer"
            try:
                self.answer()
            except Refused as refused:
                if not self.hub.manners.error_codes:
                    text = {"Content-Type": "text/plain", **refused.headers}
                    return self.send(refused.status, str(refused).encode(), text)
                named = {"X-Error-Message": str(refused), **refused.headers}
                if refused.code:
                    named["X-Error-Code"] = refused.code
                self.send(refused.status, json.dumps({"error": str(refused)}).encode(), named)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    silent = False

    def answer(self) -> None:
        for method, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, self.route)
            if match and self.command in method:
                arguments = {
                    name: unquote(value or "") for name, value in match.groupdict().items()
                }
                return handler(self, **arguments)
        raise Refused(404, f"no such route: {self.command} {self.route}")

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None):
        if self.silent:
            return self.hang_up()
        if self.hub.manners.html:
            status, content, headers = 200, PAGE, {"Content-Type": "text/html; charset=utf-8"}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value, headers: dict[str, str] | None = None) -> None:
        headers = {"Content-Type": "application/json", **(headers or {})}
        self.send(200, json.dumps(value).encode(), headers)

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    @property
    def token(self) -> str | None:
        kind, _, value = (self.headers.get("Authorization") or "").partition(" ")
        return value if kind == "Bearer" else None

    @property
    def json(self):
        return json.loads(self.body)

    def log_message(self, *args) -> None:
        pass


@contextlib.contextmanager
def serve_hub(port: int = 0, **manners) -> Iterator[Hub]:
    """A Hub with no repository and the account and tokens of `hub_store`, with these `Manners`."""
    hub = Hub(Manners(**manners))
    handler = type("Handler", (Exchange,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    with serve_hub() as running:
        print(f"HF_ENDPOINT={running.endpoint}\nHF_TOKEN={WRITE_TOKEN}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
