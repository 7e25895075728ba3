"""Archives that travel: small, in order, restored without touching what is there."""

import io
import tarfile

import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.store.archive import read_archives, write_archives

LIMIT = 200_000


def write(directory, sizes):
    rng = np.random.default_rng(0)
    paths = [directory / "deep" / "er" / f"{n}.bin" for n in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(size))
    return paths


def test_small_in_order_and_restored(tmp_path):
    paths = write(tmp_path / "a", [10, 80_000, 0, 90_000, 70_000, 300_000, 512])
    folder = tmp_path / "archive"
    assert write_archives(tmp_path / "a", paths, folder, LIMIT) == [paths[5]]
    archives = sorted(folder.iterdir())
    assert [path.name for path in archives] == ["session-1.tar", "session-2.tar"]
    assert all(path.stat().st_size <= LIMIT for path in archives)
    with tarfile.open(archives[0]) as archive:  # readable without the other
        assert archive.getnames() == [f"deep/er/{n}.bin" for n in range(4)]
    there = tmp_path / "b" / "deep" / "er" / "0.bin"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    assert read_archives(folder, tmp_path / "b") == 5
    assert there.read_text() == "mine"
    for path in (*paths[1:5], paths[6]):
        restored = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert restored.read_bytes() == path.read_bytes()
    # What is less later leaves no archive of before; what is the same is not written again.
    stamp = archives[0].stat().st_mtime_ns
    write_archives(tmp_path / "a", paths[:4], folder, LIMIT)
    assert [path.name for path in folder.iterdir()] == ["session-1.tar"]
    assert archives[0].stat().st_mtime_ns == stamp


def test_damage_and_places_outside(tmp_path):
    paths = write(tmp_path / "a", [5_000])
    write_archives(tmp_path / "a", paths, tmp_path, LIMIT)
    whole = (tmp_path / "session-1.tar").read_bytes()
    (tmp_path / "session-1.tar").write_bytes(whole[:2_000])
    with pytest.raises(UserError, match="damaged"):
        read_archives(tmp_path, tmp_path / "b")
    with tarfile.open(tmp_path / "session-1.tar", "w") as archive:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UserError, match="session-1"):
        read_archives(tmp_path, tmp_path / "b")
    assert not (tmp_path / "outside").exists()
