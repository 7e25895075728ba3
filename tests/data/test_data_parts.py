"""Data sets in parts: every byte back, parts that are missing, damaged or of other data."""

import dataclasses

import numpy as np
import pytest

from paper_repro.core.data import dataset_names, load_dataset
from paper_repro.core.data.parts import complete_names, incomplete_names, read_parts, write_parts
from paper_repro.core.errors import UserError


def data(tmp_path, channels=3, n=3_000, shape=(32, 32), seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", n), ("test", 50)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, *shape, channels), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 4
    tmp_path.mkdir(exist_ok=True)
    np.savez(tmp_path / "noise.npz", **arrays, class_names=["a", "b", "c", "d"])
    return load_dataset("noise", tmp_path)


@pytest.mark.parametrize(("channels", "shape"), [(3, (32, 32)), (1, (28, 28)), (1, (3, 5))])
def test_every_byte_comes_back(channels, shape, tmp_path):
    packed = data(tmp_path / "npz", channels, shape=shape, n=1_100)
    (path,) = write_parts(packed, tmp_path / "parts")
    assert path.name == "noise.1-of-1.part"
    found = load_dataset("noise", tmp_path / "parts")
    for key, digest in packed.array_sha256.items():
        assert np.array_equal(getattr(found, key), getattr(packed, key))
        assert found.array_sha256[key] == digest
    assert found.class_names == packed.class_names and found.name == "noise"
    assert "noise" in dataset_names(tmp_path / "parts")


def test_parts_are_small_and_all_of_them_are_needed(tmp_path):
    packed = data(tmp_path / "npz")
    folder, limit = tmp_path / "parts", 4 * 2**20
    paths = write_parts(packed, folder, limit)
    assert len(paths) == 4 and all(path.stat().st_size < limit for path in paths)
    assert complete_names(folder) == ("noise",)
    kept = paths[2].read_bytes()
    paths[2].unlink()
    assert complete_names(folder) == () and read_parts(folder, "noise") is None
    assert incomplete_names(folder) == {"noise": "3 of 4"}
    with pytest.raises(UserError, match="unknown data set"):
        load_dataset("noise", folder)
    paths[2].write_bytes(kept[: len(kept) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_dataset("noise", folder)
    other = data(tmp_path / "other", seed=1)
    write_parts(other, tmp_path / "other", limit)
    paths[2].write_bytes((tmp_path / "other" / paths[2].name).read_bytes())
    with pytest.raises(UserError, match="other data"):
        load_dataset("noise", folder)


def test_an_official_set_is_held_to_its_digests(tmp_path):
    wrong = dataclasses.replace(data(tmp_path / "npz"), name="cifar10")
    write_parts(wrong, tmp_path / "parts")
    with pytest.raises(UserError, match="not the official CIFAR-10"):
        load_dataset("cifar10", tmp_path / "parts")
