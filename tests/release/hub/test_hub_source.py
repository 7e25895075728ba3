"""Downloads that the disk cannot take: the disk is named, and nobody is told to try again."""

import subprocess
import sys

import pytest
from tiny_release import REPO

from release.push import publish

LOAD = ["-m", "release", "load", "tiny-ipc1", "--source", REPO]


@pytest.fixture
def pushed(hub, tiny_release):
    publish(tiny_release, REPO, create=True, yes=True)


def require_advice(done, cache, reason, variable):
    assert done.returncode == 2, done.stdout
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"error: the cache {cache} cannot take a download of {REPO}")
    assert f"({reason})" in last and f"set {variable} to a folder that can be written" in last
    assert "try again" not in done.stderr


def load(**options):
    return subprocess.run(
        [sys.executable, *LOAD], capture_output=True, text=True, timeout=300, **options
    )


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_cache_that_is_no_folder(pushed, tmp_path, monkeypatch, variable):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    cache = tmp_path / "file" if variable == "HF_HUB_CACHE" else tmp_path / "file" / "hub"
    require_advice(load(), cache, "not a directory", variable)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of a process are Linux's")
@pytest.mark.parametrize(
    "make, reason",
    [
        ("mount -o remount,ro $HF_HOME", "read-only file system"),
        ("cat /dev/zero > $HF_HOME/other", "no space left on device"),
    ],
)
def test_a_cache_on_a_disk_that_takes_nothing(pushed, tmp_path, make, reason):
    script = (
        f'mkdir -p "$HF_HOME" && mount -t tmpfs -o size=16k tmpfs "$HF_HOME" || exit 99; {make}'
    )
    command = ["unshare", "--mount", "bash", "-c", f'{script}; "$0" "$@"', sys.executable, *LOAD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("this user may not mount")
    require_advice(done, tmp_path / "hf" / "hub", reason, "HF_HOME")
