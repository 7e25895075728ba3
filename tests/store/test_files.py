import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_table

from paper_repro.core.errors import UserError
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import (
    append_line,
    atomic_path,
    exclusive,
    require_writable,
    restore_folders,
    sha256_of_array,
    sha256_of_file,
    write_atomic,
)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_write_replaces_the_whole_content(tmp_path):
    write_atomic(tmp_path / "a" / "b.txt", "a long first content")
    write_atomic(tmp_path / "a" / "b.txt", "é")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é".encode()
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without_them(tmp_path, monkeypatch, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with exclusive(tmp_path):
        (tmp_path / "work").touch()


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_content_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_before_the_first_content_leaves_nothing(tmp_path):
    with pytest.raises(ValueError), atomic_path(tmp_path / "a.txt"):
        raise ValueError
    assert names(tmp_path) == []


def test_readers_see_the_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


FOLDERS = """
import os, sys
from pathlib import Path
from paper_repro.core.store import files

place, wanted = Path(sys.argv[1]), int(sys.argv[2])
rename, done = os.replace, 0

def replace(a, b):
    global done
    rename(a, b)
    done += 1
    if done == wanted:
        os.kill(os.getpid(), 9)

files.os.replace = replace
with files.atomic_folder(place, ".staged-") as staged:
    (staged / "content").write_text("new")
"""


@pytest.mark.parametrize(("renames", "content"), [(1, "old"), (2, "new")])
def test_a_folder_survives_a_kill_between_its_renames(renames, content, tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    (place / "content").write_text("old")
    words = [sys.executable, "-c", FOLDERS, str(place), str(renames)]
    assert subprocess.run(words, timeout=100).returncode == -9
    restore_folders(tmp_path, ".staged-")
    assert names(tmp_path) == ["set"] and (place / "content").read_text() == content


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "atomic", "x")
        append_line(tmp_path / "appended", "x")
    finally:
        os.umask(before)
    for name in ("atomic", "appended"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


def test_lines_are_appended_whole_with_one_newline_each(tmp_path):
    path = tmp_path / "a" / "log.jsonl"
    for line in ("one", "two\n", "é" * 100_000):
        append_line(path, line)
    assert path.read_text() == "one\ntwo\n" + "é" * 100_000 + "\n"


def test_digests_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "x"
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path.write_bytes(array.T.tobytes())
    assert sha256_of_file(path) == sha256_of_array(array.T) != sha256_of_array(array)


def test_a_writable_directory_is_made_and_left_empty(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_text("content")
    return tmp_path / "file"


@pytest.mark.parametrize("below", ["", "out", "out/deeper"])
def test_a_directory_that_cannot_be_made_is_named(file, below):
    with pytest.raises(UserError, match=f"cannot write to the output directory {file / below} "):
        require_writable(file / below)
    assert file.read_text() == "content"


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system of its own; skips where that takes more rights than ours."""
    mounts = []

    def mount(options):
        directory = tmp_path / f"mount{len(mounts)}"
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory]
        if os.geteuid() or not shutil.which("mount"):
            pytest.skip("only root may mount a file system")
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        mounts.append(directory)
        return directory

    yield mount
    for directory in mounts:
        subprocess.run(["umount", directory], check=True)


def test_a_read_only_directory_is_named(mounted):
    directory = mounted("ro")
    with pytest.raises(UserError, match=rf"{directory} \(read-only file system\)"):
        require_writable(directory)


def test_a_full_disk_leaves_old_content_and_no_temporary_file(mounted):
    directory = mounted("size=64k")
    write_atomic(directory / "a", b"old")
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomic(directory / "a", b"x" * 200_000)
    assert raised.value.filename == str(directory / "a")
    assert (directory / "a").read_bytes() == b"old"
    assert names(directory) == ["a"]


STEPS = 26


def run_small_table(out, data):
    script = Path(small_table.__file__)
    command = [sys.executable, script, "--out", out, "--data-dir", data, "--steps", str(STEPS)]
    return subprocess.run(command, capture_output=True, text=True)


def supports(out):
    run = small_table.run_of(out, STEPS)
    return {path.name: path.read_bytes() for path in run.glob("support_*")}


def assert_one_error_line(done, words):
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert errors == [done.stderr.splitlines()[-1]]
    assert errors[0].startswith("error: ") and words in errors[0]
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_is_one_error_line_and_the_run_goes_on_later(mounted, tmp_path):
    data = small_table.write_data(tmp_path / "data")
    small_table.main(tmp_path / "expected", data, STEPS)
    expected = supports(tmp_path / "expected")
    out = mounted("size=256k") / "out"
    ballast = out.parent / "ballast"
    ballast.write_bytes(b"x" * 150_000)
    done = run_small_table(out, data)
    assert_one_error_line(done, f"no space left on the disk that holds {out}")
    kept = supports(out)
    assert 0 < len(kept) < len(expected)
    assert kept.items() <= expected.items()
    assert not list(out.rglob("*.tmp"))
    ballast.unlink()
    again = run_small_table(out, data)
    assert again.returncode == 0, again.stderr
    assert supports(out) == expected


def test_a_directory_that_became_read_only_keeps_what_is_finished(mounted, tmp_path):
    data, directory = small_table.write_data(tmp_path / "data"), mounted("size=4m")
    out = directory / "out"
    small_table.main(out, data, STEPS)

    def content():
        return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    before = content()
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
    done = run_small_table(out, data)
    assert_one_error_line(done, f"{out} (read-only file system)")
    assert content() == before
    subprocess.run(["mount", "-o", "remount,rw", directory], check=True)
    again = run_small_table(out, data)
    assert again.returncode == 0, again.stderr
    assert content() == before


KEEP_TWO_STATES = """
import resource
from pathlib import Path
import numpy as np
from paper_repro.core import cli
from paper_repro.core.store import checkpoint

def main(out: Path) -> None:
    "Save a small state, then a large one."
    rolling = checkpoint.Rolling(out)
    rolling.save({"step": np.asarray(1)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    rolling.save({"step": np.asarray(2), "images": np.zeros(10_000)}, {})

cli.run(main)
"""


def test_a_limit_on_file_size_is_one_error_line_and_the_older_state_stays(tmp_path):
    command = [sys.executable, "-c", KEEP_TWO_STATES, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert_one_error_line(done, f"no space left on the disk that holds {tmp_path}")
    assert int(checkpoint.Rolling(tmp_path).load().tensors["step"]) == 1
    assert names(tmp_path) == ["state.safetensors"]
