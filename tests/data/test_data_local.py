"""A directory of one's own: npz files under official and other names, Hub snapshots."""

import numpy as np
import pytest
from tiny_data import make_arrays, make_spec, permuted, write_parquet

from paper_repro.core.data import dataset_names, load_dataset
from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.npz import write_npz
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.errors import UserError


def same(dataset, arrays):
    return all(np.array_equal(getattr(dataset, key), arrays[key]) for key in KEYS)


def test_a_set_of_its_own_name(tmp_path, empty_cache, monkeypatch):
    arrays = make_arrays(n_train=64)
    extra = {"all_labels": np.arange(9), "class_names": np.array(["w", "x", "y", "z", "unused"])}
    write_npz(tmp_path / "my_set.npz", {**arrays, **extra})
    dataset = load_dataset("my_set", tmp_path)
    assert same(dataset, arrays)
    assert (dataset.name, dataset.title, dataset.source) == (
        "my_set",
        "my_set",
        "local file my_set.npz",
    )
    assert dataset.class_names == ("w", "x", "y", "z", "unused")
    assert (dataset.n_classes, dataset.image_shape) == (5, (6, 5, 3))
    monkeypatch.setenv("KIP_DATA_DIR", str(tmp_path))
    assert load_dataset("My-Set").data_sha256 == dataset.data_sha256
    assert dataset_names() == (*DATASETS, "my_set")
    assert not empty_cache.exists()


def test_validation_is_the_end_of_the_training_set(tmp_path, empty_cache):
    arrays = make_arrays(n_train=64)
    write_npz(tmp_path / "small.npz", arrays)
    dataset = load_dataset("small", tmp_path)
    assert dataset.n_validation == 6
    assert np.array_equal(dataset.x_val, arrays["x_train"][58:])
    assert np.array_equal(dataset.y_fit, arrays["y_train"][:58])
    for view, whole in (
        (dataset.x_fit, dataset.x_train),
        (dataset.x_val, dataset.x_train),
        (dataset.y_fit, dataset.y_train),
        (dataset.y_val, dataset.y_train),
    ):
        assert np.shares_memory(view, whole)
    big = {
        **arrays,
        "x_train": np.zeros((60_000, 1, 1), np.uint8),
        "y_train": np.zeros(60_000, int),
    }
    big["x_test"], big["y_test"] = np.zeros((1, 1, 1), np.uint8), np.zeros(1, int)
    write_npz(tmp_path / "big.npz", big)
    dataset = load_dataset("big", tmp_path)
    assert (len(dataset.x_fit), len(dataset.x_val), dataset.n_classes) == (55_000, 5_000, 1)


def test_an_official_name_is_held_to_the_official_bytes(tmp_path, tiny):
    spec, arrays = tiny
    write_npz(tmp_path / "tiny.npz", permuted(arrays, (4, 3, 2, 1, 0)))
    dataset = load_dataset("TINY", tmp_path)
    assert same(dataset, arrays)
    assert dataset.array_sha256 == spec.sha256
    arrays["x_train"][0, 0, 0, 0] ^= 1
    write_npz(tmp_path / "tiny.npz", arrays)
    with pytest.raises(UserError, match=r"tiny\.npz is not the official Tiny") as caught:
        load_dataset("tiny", tmp_path)
    assert spec.sha256["x_train"] in str(caught.value)
    write_npz(tmp_path / "cifar-10.npz", arrays)
    with pytest.raises(UserError, match="not the official CIFAR-10: x_train has shape"):
        load_dataset("cifar10", tmp_path)


def test_bad_files_say_what_is_wrong(tmp_path, empty_cache):
    arrays = make_arrays()
    write_npz(tmp_path / "labels.npz", {**arrays, "y_test": arrays["y_test"] + 9})
    with pytest.raises(UserError, match="y_test holds the label 12, y_train stops at 3"):
        load_dataset("labels", tmp_path)
    write_npz(tmp_path / "names.npz", {**arrays, "class_names": np.array(["a"])})
    with pytest.raises(UserError, match="1 class_names for the labels 0 to 3"):
        load_dataset("names", tmp_path)
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(UserError, match=r"text\.npz is not an npz file"):
        load_dataset("text", tmp_path)


@pytest.mark.parametrize("name", ["nope", "", "../cifar10", "a/b", "x\0y", "cifar"])
def test_unknown_names_list_the_known_ones(tmp_path, empty_cache, name):
    write_npz(tmp_path / "mine.npz", make_arrays())
    with pytest.raises(UserError, match=r"unknown data set .* choose from mnist, .*, mine, or put"):
        load_dataset(name, tmp_path)


def test_a_directory_that_is_not_there(tmp_path, empty_cache, monkeypatch):
    with pytest.raises(UserError, match="is not a directory: correct --data-dir"):
        load_dataset("cifar10", tmp_path / "absent")
    monkeypatch.setenv("KIP_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="environment variable KIP_DATA_DIR"):
        load_dataset("cifar10")


@pytest.mark.parametrize(
    "folder",
    [
        "plain_text",
        "tiny/plain_text",
        "owner/tiny/plain_text",
        "tiny/data",
        "tiny",
        "datasets--owner--tiny/snapshots/0123/plain_text",
    ],
)
def test_hub_snapshots_in_another_block_order(tmp_path, tiny, folder):
    spec, arrays = tiny
    write_parquet(tmp_path / folder, permuted(arrays, (3, 0, 4, 2, 1)))
    dataset = load_dataset("tiny", tmp_path)
    assert same(dataset, arrays)
    assert dataset.array_sha256 == spec.sha256
    assert dataset.source == "local Parquet files of owner/tiny"
    for path in (tmp_path / folder).glob("*.parquet"):
        path.write_bytes(b"not decoded again, the cache has the same bytes")
    assert same(load_dataset("tiny", tmp_path), arrays)


def test_snapshots_of_grayscale_images_and_other_columns(tmp_path, empty_cache, monkeypatch):
    arrays = make_arrays(shape=(6, 5, 1))
    spec = make_spec(arrays)
    monkeypatch.setitem(DATASETS, "tiny", spec)
    write_parquet(tmp_path / "tiny", arrays, image_column="img", label_column="label")
    assert same(load_dataset("tiny", tmp_path), arrays)


def test_bad_snapshots_say_what_is_wrong(tmp_path, tiny):
    _, arrays = tiny
    folder = tmp_path / "tiny" / "plain_text"
    train, test = (folder / f"{split}-00000-of-00001.parquet" for split in ("train", "test"))

    write_parquet(folder, arrays, label_column="fine_label")
    with pytest.raises(UserError, match="has no column label: it is not Tiny"):
        load_dataset("tiny", tmp_path)
    write_parquet(folder, make_arrays(shape=(7, 5, 3)))
    with pytest.raises(UserError, match=r"row 0: an image of 5x7 pixels"):
        load_dataset("tiny", tmp_path)
    write_parquet(folder, make_arrays(seed=1))
    with pytest.raises(UserError, match="plain_text is not the official Tiny"):
        load_dataset("tiny", tmp_path)
    train.write_bytes(train.read_bytes()[:-20])
    with pytest.raises(UserError, match="has a damaged train file"):
        load_dataset("tiny", tmp_path)
    write_parquet(folder, arrays)
    test.unlink()
    with pytest.raises(UserError, match=r"has no test-\*\.parquet: copy the whole snapshot"):
        load_dataset("tiny", tmp_path)
