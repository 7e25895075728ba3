"""What pushing and loading say of an answer, and of none: what to do, of which server, and
"again" only where that can help."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from hub_store import Entry
from tiny_release import REPO, publish_command

import release
import release.hub.client
import release.hub.session
from paper_repro.core.errors import UserError
from release.hub.source import open_source
from release.push import publish

INFO = r"/api/datasets/tester/sets(/revision/[^/]+)?$"
COMMIT = r"/commit/main"
BATCH = r"/objects/batch$"
FOR_EVER = 10**6
AGAIN = "run the same command again"
TOKEN = "HF_TOKEN"
STORAGE = "which another token does not change"
PRIVATE_LIMIT = b'{"error": "Private repository storage limit reached, please upgrade your plan"}'
PATTERNS = b'{"error": "Your storage patterns tripped our internal systems!"}'
PAGE = b"<html>nginx</html>"
HTML = {"Content-Type": "text/html"}

ANSWERS = [
    # status, body, headers, what both say, only a push, only a load, whether again helps
    (400, b"no", {}, [], ["correct --repo"], ["correct the name"], False),
    (401, b"no", {}, ["the token is not valid", TOKEN], [], [], False),
    (402, b"no", {}, [STORAGE], [], [], False),
    (403, b"no", {}, [TOKEN, "may not read"], ["write permission"], ["read permission"], False),
    (403, PRIVATE_LIMIT, {}, [STORAGE], [], [], False),
    (403, PATTERNS, {}, [STORAGE], [], [], False),
    (403, PAGE, HTML, ["not the answer of a Hub", "HF_ENDPOINT"], [], [], False),
    (403, b"{}", {"X-Error-Code": "GatedRepo"}, ["ask for access at"], [], [], None),
    (405, b"no", {}, ["does not offer this"], [], [], False),
    (413, b"no", {}, ["takes no request of that size"], [], [], False),
    (413, PAGE, HTML, ["takes no request of that size"], [], [], False),
    (418, b"no", {}, [], ["correct --repo"], ["correct the name"], False),
    (429, b"no", {}, ["wait some minutes"], [], [], True),
    (500, b"no", {}, ["the server has a problem"], [], [], True),
    (501, b"no", {}, ["does not offer this"], [], [], False),
    (503, PAGE, HTML, ["the server has a problem"], [], [], True),
    (508, b"no", {}, ["does not offer this"], [], [], False),
    (999, b"no", {}, [], ["correct --repo"], ["correct the name"], False),
    (507, b"no", {}, ["has no space left"], [], [], False),
    (511, PAGE, HTML, ["log in"], [], [], None),
    (200, PAGE, HTML, ["not the answer of a Hub", "HF_ENDPOINT"], [], [], False),
    (200, b"[]", {}, ["not the answer of a Hub"], [], [], False),
    (200, b'"fine"', {}, ["not the answer of a Hub"], [], [], False),
    (200, b"\xff\xfe", {}, ["not the answer of a Hub"], [], [], False),
    (404, b'["no"]', {}, ["not the answer of a Hub"], [], [], False),
]


@pytest.fixture
def repository(hub):
    return hub.store.create(REPO, True, next(iter(hub.store.roles)))


@pytest.fixture(autouse=True)
def at_once(no_waiting):
    pass


def push_fails(folder, **options):
    with pytest.raises(UserError) as caught:
        publish(folder, REPO, yes=True, **options)
    return str(caught.value)


def load_fails(revision=None):
    with pytest.raises(UserError) as caught:
        open_source(REPO, revision)
    return str(caught.value)


@pytest.mark.parametrize(("status", "body", "headers", "both", "push", "load", "again"), ANSWERS)
def test_one_table_of_advice(
    hub, repository, tiny_release, status, body, headers, both, push, load, again
):
    hub.fail("GET", INFO, status, times=FOR_EVER, body=body, **headers)
    for message, says in ((push_fails(tiny_release), push), (load_fails(), load)):
        for text in (*both, *says, hub.endpoint):
            assert text in message, message
        if again is not None:
            assert (AGAIN in message) == again, message
        assert not any(word in message for word in ("upload", "blobs", "tagged", "huggingface.co"))
    assert repository.tags == {} and len(repository.commits) == 1


def test_a_commit_that_is_refused_blames_the_release(hub, repository, tiny_release):
    hub.fail("POST", COMMIT, 400)
    message = push_fails(tiny_release)
    assert "while committing: nothing was tagged; correct the release" in message


@pytest.mark.parametrize("status", [402, 403, 413, 507])
def test_what_lacks_room_is_said_where_it_is_met(hub, tiny_release, status):
    hub.fail("POST", COMMIT, status, times=FOR_EVER, body=PRIVATE_LIMIT)
    message = push_fails(tiny_release, create=True)
    assert TOKEN not in message and AGAIN not in message
    assert "was created and is empty still" in message
    assert hub.count("POST", COMMIT) == 1 and hub.repository(REPO).tags == {}


def test_no_room_for_one_blob_of_a_batch(hub, repository, tiny_release):
    error = {"code": 507, "message": "Your storage quota is used up"}
    refused = {"objects": [{"oid": "0" * 64, "size": 1, "error": error}]}
    hub.fail("POST", BATCH, 200, times=FOR_EVER, body=json.dumps(refused).encode())
    message = push_fails(tiny_release)
    assert STORAGE in message and "quota is used up" in message and AGAIN not in message


@pytest.mark.parametrize("manners", [{}, {"error_codes": False}], ids=["codes", "no codes"])
def test_what_cannot_be_loaded_from_a_hub(hub, repository, monkeypatch):
    assert "is not the repository of a release: it has no manifest" in load_fails()
    message = load_fails("v9.9.9")
    assert "'v9.9.9'" in message and AGAIN not in message and "go online" not in message
    with pytest.raises(UserError, match=f"no data set tester/void.* at {hub.endpoint}"):
        open_source("tester/void", None)
    monkeypatch.setenv("HF_TOKEN", "hf_nobodyXXXXXXXXXXXXXXXXXXXXXXXXXXXXX")
    message = load_fails()
    assert "the token is not valid" in message and "hf_nobody" not in message
    assert AGAIN not in message and "with read permission" in message
    monkeypatch.delenv("HF_TOKEN")
    assert "no token is set" in load_fails()


def test_a_release_is_loaded_from_the_server_that_is_pushed_to(hub, tiny_release, capsys):
    assert huggingface_hub.constants.ENDPOINT != hub.endpoint, "read when it was imported"
    publish(tiny_release, REPO, yes=True, create=True, tag="v2.0.0")
    assert "say v1.0.0, not v2.0.0" in capsys.readouterr().out
    assert open_source(REPO, "v2.0.0").manifest.version == "v1.0.0"
    assert f"the release at v2.0.0 of {REPO} says that it is v1.0.0" in capsys.readouterr().err
    open_source(REPO, "main")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("manners", [{"html": True}], ids=["html"])
def test_a_server_of_pages_ends_every_command_in_one_line(hub, tiny_release):
    load = ["-m", "release", "load", "mnist-x", "--source", REPO]
    for command in (
        publish_command(tiny_release),
        publish_command(tiny_release, "--yes", "--create"),
        [sys.executable, *load],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert hub.endpoint in done.stderr and AGAIN not in done.stderr


@pytest.mark.parametrize("manners", [{"private": "none"}, {"private": "claimed"}], ids=str)
def test_a_release_does_not_become_public_unasked(hub, tiny_release):
    message = push_fails(tiny_release, create=True)
    assert "is public" in message and "nothing was uploaded" in message and "--public" in message
    assert hub.uploaded == [] and hub.count("POST", COMMIT) == 0
    assert len(hub.repository(REPO).commits) == 1 and hub.repository(REPO).tags == {}
    if hub.manners.private == "none":  # what is there is seen as such from now on
        assert publish(tiny_release, REPO, yes=True, create=True, public=True)


def test_a_public_repository_that_appears_meanwhile_is_not_taken(hub, tiny_release):
    token = next(iter(hub.store.roles))
    hub.before("POST", "/api/repos/create", lambda: hub.store.create(REPO, False, token))
    message = push_fails(tiny_release, create=True)
    assert "is public" in message and "someone made it meanwhile" in message
    assert hub.uploaded == [] and hub.repository(REPO).tags == {}


def test_xet_against_a_server_without_it(hub, tiny_release, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    message = push_fails(tiny_release, create=True)
    assert "HF_HUB_DISABLE_XET=1" in message and hub.endpoint in message
    assert "was created and is empty still" in message
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert publish(tiny_release, REPO, yes=True, create=True) == hub.repository(REPO).head


def test_an_unreachable_hub_is_not_waited_for_in_silence(hub, tiny_release, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = push_fails(tiny_release)
    assert "http://127.0.0.1:9" in message and AGAIN in message and "arrived" not in message
    said = capsys.readouterr().err
    for n, seconds in enumerate((1, 2, 4, 8), 1):
        assert f"trying again in {seconds} s ({n} of 4)" in said
    message = load_fails()
    assert "http://127.0.0.1:9" in message and "give the folder of a download" in message


def test_a_hub_that_never_answers_is_told_and_given_up(
    hub, repository, tiny_release, monkeypatch, capsys
):
    monkeypatch.setattr(release.hub.session, "TIMEOUT", 0.7)
    monkeypatch.setattr(release.hub.session, "NOTICE", 0.2)
    monkeypatch.setattr(release.hub.client, "WAITS", ())
    never = threading.Event()
    for fails in (lambda: push_fails(tiny_release), load_fails):
        hub.before("GET", INFO, lambda: never.wait(30))
        assert "Timeout" in fails()
        assert f"waiting for {hub.endpoint}" in capsys.readouterr().err
    never.set()


def test_a_proxy_that_refuses_is_named(hub, tiny_release, monkeypatch):
    """The Hub of the tests stands for the proxy: it answers 407, or refuses to be a tunnel."""
    address = hub.endpoint.removeprefix("http://")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for scheme, method, route in (("http", "GET", ""), ("https", "CONNECT", "")):
        hub.fail(method, route, 407, times=FOR_EVER)
        monkeypatch.setenv("HF_ENDPOINT", f"{scheme}://hub.invalid")
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:secret@{address}")
        huggingface_hub.close_session()
        for message in (push_fails(tiny_release), load_fails()):
            assert f"{scheme.upper()}_PROXY" in message and f"{scheme}://hub.invalid" in message
            assert "secret" not in message and AGAIN not in message
    huggingface_hub.close_session()


def test_tls_that_fails_is_not_tried_again(hub, tiny_release, monkeypatch, tmp_path, capsys):
    """A certificate that nobody signed, and a port that speaks no TLS at all."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run([*request, *files], capture_output=True)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *arguments: None
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        for port in (server.server_port, hub.endpoint.rpartition(":")[2]):
            monkeypatch.setenv("HF_ENDPOINT", f"https://127.0.0.1:{port}")
            for message in (push_fails(tiny_release), load_fails()):
                assert "SSL_CERT_FILE" in message and AGAIN not in message, message
        server.shutdown()
    assert "trying again" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_ENDPOINT", "http://host:port"),
        ("HTTPS_PROXY", "http://user:p#secret@proxy:8080"),
        ("SSL_CERT_FILE", "/none.pem"),
    ],
)
def test_variables_end_every_command_in_one_line(hub, tiny_release, name, value):
    load = ["-m", "release", "load", "mnist-x", "--source", REPO]
    for command in (publish_command(tiny_release, "--yes"), [sys.executable, *load]):
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, name: value}
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert name in done.stderr and "secret" not in done.stderr
    assert hub.asked == []


def test_a_download_that_cannot_be_kept_or_read_says_where(
    hub, tiny_release, monkeypatch, tmp_path
):
    publish(tiny_release, REPO, yes=True, create=True)
    hub.corrupt.add("manifest.json")
    assert "damaged on its way" in load_fails() and "build the release again" not in load_fails()
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    message = load_fails()
    assert str(tmp_path / "file") in message and "HF_HOME" in message and "again" not in message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://x/y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"id":"a/b"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
    ],
)
def test_servers_of_other_kinds(hub, tiny_release, monkeypatch, answer):
    """Bytes on a socket, whatever was asked."""

    def serve():
        with contextlib.suppress(OSError):  # closed below
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        for message in (push_fails(tiny_release), load_fails()):
            assert os.environ["HF_ENDPOINT"] in message and "HF_ENDPOINT" in message
            # A reset reaches the client as either, whichever it meets first.
            passing = "RemoteProtocolError" in message or "ReadError" in message
            assert (AGAIN in message) == passing


def test_offline_mode_is_named_where_a_release_is_loaded(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in load_fails()


def test_a_manifest_of_another_project_is_read_as_none(hub, repository, tiny_release):
    repository.add("theirs", {"manifest.json": Entry(b'{"name": "app"}')})
    assert publish(tiny_release, REPO, yes=True), "nothing of theirs would be lost but that file"
