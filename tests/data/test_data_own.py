"""Images of one's own: written, read back, split, and refused with what to change."""

from __future__ import annotations

import numpy as np
import pytest

from paper_repro.core.data import load_dataset, write_own
from paper_repro.core.errors import UserError

NAMES = ("red", "green", "blue", "gray")


def arrays(n=120, shape=(6, 5, 3)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % len(NAMES)


def test_every_image_is_in_one_split_with_its_label(tmp_path):
    images, labels = arrays()
    data = write_own(tmp_path / "mine.npz", images, labels, NAMES)
    assert (len(data.x_train), len(data.x_test)) == (96, 24)
    assert data.class_names == NAMES
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert [label_of.pop(image.tobytes()) for image in x] == y.tolist()
    assert not label_of


def test_both_splits_and_validation_have_every_class(tmp_path):
    images, labels = arrays(n=400)
    data = write_own(tmp_path / "mine.npz", images, np.sort(labels))
    for y, share in ((data.y_test, 80), (data.y_train, 320)):
        assert np.bincount(y).tolist() == [share // 4] * 4
    assert set(data.y_val) == {0, 1, 2, 3}


def test_the_file_is_what_load_dataset_reads(tmp_path):
    written = write_own(tmp_path / "mine.npz", *arrays())
    assert load_dataset("mine", tmp_path).data_sha256 == written.data_sha256
    again = write_own(tmp_path / "again.npz", *arrays())
    assert again.data_sha256 == written.data_sha256
    other = write_own(tmp_path / "again.npz", *arrays(), seed=1)
    assert other.data_sha256 != written.data_sha256


def test_gray_images_need_no_channel_axis(tmp_path):
    images, labels = arrays(shape=(8, 8))
    assert write_own(tmp_path / "gray.npz", images, labels).image_shape == (8, 8, 1)


X, Y = arrays()
WRONG = {
    "unit floats": (X / 255, Y, r"\(255 \* images\)\.round\(\)\.astype\('uint8'\)"),
    "floats to 255": (X.astype(float), Y, r"images\.round\(\)\.clip\(0, 255\)"),
    "NaN": (np.full(X.shape, np.nan), Y, "NaN"),
    "int64 images": (X.astype(int), Y, r"images\.astype\('uint8'\)"),
    "channels first": (X.transpose(0, 3, 1, 2), Y, r"transpose\(0, 2, 3, 1\)"),
    "flat images": (X.reshape(len(X), -1), Y, r"must be \(n, height, width\)"),
    "four channels": (X[..., [0, 1, 2, 0]], Y, r"images\[\.\.\., :3\]"),
    "two channels": (X[..., :2], Y, "1 or 3 channels"),
    "bool images": (X > 99, Y, r"255 \* images\.astype"),
    "images of several shapes": ([X[0], X[1, :3]], Y[:2], "bring all of them to one shape"),
    "labels from 300": (X, Y + 300, "return_inverse"),
    "one class": (X, 0 * Y, "at least two are needed"),
    "one-hot labels": (X, np.eye(4)[Y], r"labels\.argmax\(1\)"),
    "a column of labels": (X, Y[:, None], r"labels\[:, 0\]"),
    "named labels": (X, Y.astype(str), "return_inverse"),
    "float labels": (X, Y.astype(float), "whole number"),
    "unknown classes": (
        X,
        Y.astype(int) - 1,
        r"30 of 120 labels are negative.*leave those images out",
    ),
    "two of them": (
        X,
        np.where(np.arange(len(Y)) == 3, -1, Y.astype(int)),
        "1 of 120 labels are negative",
    ),
    "fewer labels": (X, Y[:-1], "120 images but 119 labels"),
    "a class missing": (X, np.where(Y == 2, 3, Y), r"class '2' \(label 2\)"),
    "a class of one": (X, np.where(np.arange(len(Y)) == 5, 4, Y), r"class '4' \(label 4\)"),
    "three images": (X[:3], Y[:3], "3 images in total: at least 10"),
    "no image": (X[:0], Y[:0], "0 images in total"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused_with_what_to_change(case, tmp_path):
    images, labels, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        write_own(tmp_path / "wrong.npz", images, labels)
    assert not list(tmp_path.iterdir())


def test_other_arguments_are_checked(tmp_path):
    with pytest.raises(UserError, match="2 class_names for the labels 0 to 3"):
        write_own(tmp_path / "mine.npz", X, Y, ("a", "b"))
    with pytest.raises(UserError, match="between 0 and 1, not 1"):
        write_own(tmp_path / "mine.npz", X, Y, test_fraction=1)
    for names, message in ((("a", "b", "b", "c"), "same name"), (("a", "b", "", "c"), "empty")):
        with pytest.raises(UserError, match=message):
            write_own(tmp_path / "mine.npz", X, Y, names)
    for name in ("my-shapes", "Mine", "a b", "shapes(1)"):
        with pytest.raises(UserError, match="cannot name a data set"):
            write_own(tmp_path / f"{name}.npz", X, Y)
    with pytest.raises(UserError, match="seed must not be negative"):
        write_own(tmp_path / "mine.npz", X, Y, seed=-1)
    for name in ("cifar10.npz", "mine.npy"):
        with pytest.raises(UserError, match="images of your own"):
            write_own(tmp_path / name, X, Y)
