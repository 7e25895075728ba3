"""Compiled code on disk: damaged, unwritable or nowhere to put, it never stops a run.

All cases share what was compiled for one test; each is used by processes as a user's are.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

USE = """
import hashlib, os, resource, sys
import numpy as np
from paper_repro.core.preprocess import Standard
if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
x = np.arange(96, dtype="u1").reshape(2, 4, 4, 3)
standard = Standard.fit(x)
found = [standard.apply(a, b) for a in (x, x.astype("f4")) for b in ("f4", "f8")]
print(hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
"""


def use(cache, *arguments, root=ROOT, **environment):
    """The digest of prepared images, and what was said, of a new process."""
    done = subprocess.run(
        [sys.executable, "-c", USE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def kept(cache):
    return sorted(cache.rglob("*.nbc"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache of four versions of one function, and the digest of what they compute."""
    cache = tmp_path_factory.mktemp("numba")
    digest, said = use(cache)
    assert said == "" and len(kept(cache)) == 4
    return cache, digest


@pytest.fixture
def cache(filled, tmp_path):
    return Path(shutil.copytree(filled[0], tmp_path / "numba"))


def test_it_is_loaded_not_compiled_again(filled, cache):
    before = {path: path.stat().st_mtime_ns for path in kept(cache)}
    assert use(cache) == (filled[1], "")
    assert {path: path.stat().st_mtime_ns for path in kept(cache)} == before


def test_damaged_files_are_compiled_again_once_with_a_notice_each(filled, cache):
    empty, half, flipped, other = kept(cache)
    empty.write_bytes(b"")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1  # in the machine code, which would run
    flipped.write_bytes(content)
    other.write_bytes(os.urandom(3_000))
    digest, said = use(cache)
    assert digest == filled[1]
    lines = said.splitlines()
    assert len(lines) == 4
    for path in (empty, half, flipped, other):
        assert f"warning: compiled code in {path} is compiled again (it was damaged)" in lines
    assert use(cache) == (filled[1], "")


def test_code_of_another_version_or_of_other_sources_is_not_run(filled, cache, tmp_path):
    one, two, *_ = kept(cache)
    shutil.copy(one, two)
    assert use(cache) == (filled[1], "") and two.read_bytes() != one.read_bytes()
    module = tmp_path / "module.py"
    module.write_text(
        "import resource, sys\nfrom paper_repro.core.machine.compiled import compiled\n"
        "ADDED = int(sys.argv[2])\n@compiled(sys.argv[1])\ndef plus(x):\n    return x + ADDED\n"
        "if len(sys.argv) > 3:\n    resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99))\n"
        "print(plus(1))\n"
    )

    def plus(*arguments):
        command = [sys.executable, str(module), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
        return done.stdout.strip()

    # What a sources' digest stands for here is the number that is compiled in.
    assert [plus("a", 1), plus("a", 2)] == ["2", "2"]
    # Nothing of `b` could be kept: what is there is still that of `a`.
    assert [plus("b", 2, "full"), plus("b", 3)] == ["3", "4"]


def test_files_that_cannot_be_read_are_compiled_around(filled, cache):
    for path in kept(cache):
        path.unlink()
        path.mkdir()
    digest, said = use(cache)
    assert digest == filled[1]
    assert said.count("is compiled again (is a directory)") == 4
    assert said.count("cannot be kept in") == 1


def test_a_disk_that_fills_up_does_not_stop_a_run(filled, tmp_path):
    digest, said = use(tmp_path, 1_000)
    assert digest == filled[1]
    (line,) = said.splitlines()
    assert line.startswith(f"warning: compiled code cannot be kept in {tmp_path}")
    assert "(file too large): this run goes on" in line and "NUMBA_CACHE_DIR" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of a process are Linux's")
def test_a_full_disk_and_a_read_only_one(filled, cache, tmp_path):
    (small := tmp_path / "small").mkdir()
    script = f"""
    mount -t tmpfs -o size=8k tmpfs {small} && mount --bind {cache} {cache} || exit 99
    head -c 8192 /dev/zero > {small}/other
    NUMBA_CACHE_DIR={small} "$0" -c "$1" || exit 1
    rm {cache}/*/* && mount -o remount,ro,bind {cache} || exit 99
    NUMBA_CACHE_DIR={cache} NUMBA_CACHE_LOCATOR_CLASSES=UserProvidedCacheLocator "$0" -c "$1"
    """
    command = ["unshare", "--mount", "bash", "-c", script, sys.executable, USE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("this user may not mount")
    assert done.returncode == 0, done.stderr
    assert done.stdout == filled[1] * 2
    full, nowhere = done.stderr.splitlines()
    assert "no space left on device" in full
    assert nowhere.startswith("warning: compiled code is not kept, so that every process compiles")


def test_no_place_at_all_is_one_warning_for_all_compiled_functions(filled, tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    digest, said = use(tmp_path / "file", **nowhere)
    assert digest == filled[1]
    assert said.startswith("warning: compiled code is not kept") and said.count("\n") == 1
    # Those of the kernels are compiled at their first call; here they are made.
    modules = "paper_repro.core.kernels.numba_backend.kernel, paper_repro.benchmark.fma"
    done = subprocess.run(
        [sys.executable, "-c", f"import {modules}"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, **nowhere, "NUMBA_CACHE_DIR": str(tmp_path / "file")},
    )
    assert (done.returncode, done.stderr) == (0, said)


def test_numba_caches_and_threads_of_its_own_are_used_nowhere():
    sources = [*(ROOT / "paper_repro").rglob("*.py"), *(ROOT / "release").rglob("*.py")]
    wrong = re.compile(r"cache=True[,)]|parallel=True[,)]|\bprange\(")
    assert [path for path in sources if wrong.search(path.read_text("utf-8"))] == []
