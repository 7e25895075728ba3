"""npz files as strangers, damage and malice leave them."""

import zipfile

import numpy as np
import pytest

from paper_repro.core.data.npz import read_npz, write_npz
from paper_repro.core.errors import UserError

ARRAYS = {"a": np.arange(2000, dtype=np.uint8).reshape(40, 50), "b": np.arange(3)}


def test_round_trip_ignores_other_arrays(tmp_path):
    path = tmp_path / "new" / "set.npz"
    write_npz(path, {**ARRAYS, "c": np.array("text")})
    read = read_npz(path, ["a", "b"], optional=["c", "d"])
    assert sorted(read) == ["a", "b", "c"]
    assert np.array_equal(read["a"], ARRAYS["a"])
    assert str(read["c"]) == "text"
    assert [p.name for p in path.parent.iterdir()] == ["set.npz"]


def test_missing_arrays_are_named(tmp_path):
    write_npz(tmp_path / "set.npz", ARRAYS)
    with pytest.raises(UserError, match=r"set\.npz has no x, y"):
        read_npz(tmp_path / "set.npz", ["a", "x", "y"])


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickle_is_refused_and_never_run(tmp_path):
    path = tmp_path / "set.npz"
    with open(path, "wb") as file:
        np.savez(file, a=np.array([_Bomb()], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        read_npz(path, ["a"])
    np.array([_Bomb()], dtype=object).dump(path)
    with pytest.raises(UserError, match="is not an npz file"):
        read_npz(path, ["a"])


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, keep):
    path = tmp_path / "set.npz"
    write_npz(path, ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"set\.npz is not an? (readable )?npz file"):
        read_npz(path, ["a", "b"])


def test_every_flipped_byte_is_refused_or_harmless(tmp_path):
    path = tmp_path / "set.npz"
    write_npz(path, ARRAYS)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read = read_npz(path, ["a", "b"])
        except UserError:
            refused += 1
        else:  # a byte of the zip's bookkeeping that carries no data
            assert all(np.array_equal(read[key], ARRAYS[key]) for key in ARRAYS)
    assert refused > 0.8 * len(content) / 7


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000000000,), }"
    header = text.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match=r"set\.npz"):
        read_npz(path, ["a"])


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    with open(path, "wb") as file:
        np.save(file, np.arange(5))
    with pytest.raises(UserError, match="one array, not an npz archive"):
        read_npz(path, ["a"])


def test_an_absent_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "set.npz", ["a"])
