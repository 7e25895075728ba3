"""HTTP servers on the loopback interface: well-behaved, rude, and a small Hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Callable[[Exchange], None]

    def do_GET(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            type(self).answer(self)

    do_HEAD = do_GET

    @property
    def route(self) -> str:
        return unquote(urlsplit(self.path).path)

    def send(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value) -> None:
        self.send(200, json.dumps(value).encode())

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(answer: Callable[[Exchange], None]) -> Iterator[str]:
    """Answer every GET and HEAD with `answer(exchange)`; yield the address."""
    handler = type("Handler", (Exchange,), {"answer": staticmethod(answer)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.socket.close()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Accepts connections, reads requests, never answers."""
    released = threading.Event()
    with serve(lambda exchange: released.wait(60)) as address:
        yield address
        released.set()


@contextlib.contextmanager
def fake_hub(repo: str, root: Path, log: list[str] | None = None) -> Iterator[str]:
    """Serve the files under `root` as data set repository `repo`, as `datasets` asks for them."""
    api = f"/api/datasets/{repo}"

    def entry(path: Path) -> dict:
        common = {"path": path.relative_to(root).as_posix(), "oid": "0" * 40}
        if path.is_dir():
            return {**common, "type": "directory"}
        return {**common, "type": "file", "size": path.stat().st_size}

    def answer(exchange: Exchange) -> None:
        route = exchange.route
        if log is not None:
            log.append(route)
        if route.startswith(f"/datasets/{repo}/resolve/"):
            path = root / route.split("/resolve/")[1].split("/", 1)[1]
            if path.is_file():
                content = path.read_bytes()
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                exchange.send(200, content, ETag=etag, X_Repo_Commit=REVISION)
            else:
                exchange.send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=REVISION)
        elif route in (api, f"{api}/revision/{REVISION}"):
            files = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
            siblings = [{"rfilename": name} for name in files]
            exchange.send_json({"id": repo, "sha": REVISION, "siblings": siblings})
        elif route.startswith(f"{api}/tree/{REVISION}"):
            folder = root / route.removeprefix(f"{api}/tree/{REVISION}").strip("/")
            exchange.send_json([entry(path) for path in sorted(folder.iterdir())])
        else:
            exchange.send(404, b"{}", X_Error_Code="EntryNotFound")

    with serve(answer) as address:
        yield address


@contextlib.contextmanager
def npm_registry(name: str, version: str, tarball: bytes, claimed: bytes | None = None):
    """A registry with one package; `claimed` is the content whose checksum it states."""
    import base64

    digest = hashlib.sha512(tarball if claimed is None else claimed).digest()
    integrity = f"sha512-{base64.b64encode(digest).decode()}"

    def answer(exchange: Exchange) -> None:
        if exchange.route.endswith(".tgz"):
            exchange.send(200, tarball)
            return
        if exchange.route.strip("/") != name:
            exchange.send(404, b"{}")
            return
        dist = {"tarball": f"http://{exchange.headers['Host']}/{name}.tgz", "integrity": integrity}
        manifest = {"name": name, "version": version, "dist": dist}
        versions = {"versions": {version: manifest}, "dist-tags": {"latest": version}}
        exchange.send_json({"name": name, **versions})

    with serve(answer) as address:
        yield address
