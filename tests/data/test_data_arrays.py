"""The rules every data set obeys, and the one-line errors of those that do not."""

import hashlib

import numpy as np
import pytest
from tiny_data import make_arrays

from paper_repro.core.data.arrays import KEYS, combined_digest, digests, normalise
from paper_repro.core.errors import UserError


def test_grayscale_gets_a_channel_axis_and_labels_become_uint8():
    arrays = make_arrays(shape=(6, 5, 1))
    flat = {**arrays, "x_train": arrays["x_train"][..., 0], "x_test": arrays["x_test"][..., 0]}
    flat["y_train"] = flat["y_train"].astype(np.int64)
    result = normalise(flat, "set")
    for key in KEYS:
        assert result[key].dtype == np.uint8
        assert np.array_equal(result[key], arrays[key])


def _with_nan(arrays):
    images = arrays["x_train"].astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    return {"x_train": images}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with_nan, "x_train holds float32 values with NaN among them"),
        (lambda a: {"x_test": a["x_test"] / 255}, "x_test holds float64 values, images must be"),
        (lambda a: {"x_train": a["x_train"].astype(object)}, "x_train holds object values"),
        (lambda a: {"y_train": a["y_train"][:-1]}, "labels do not match images"),
        (lambda a: {"y_test": a["y_test"].astype(int) - 1}, "ranges from -1"),
        (lambda a: {"y_test": a["y_test"].astype(int) + 300}, "stay below 256"),
        (lambda a: {"y_train": a["y_train"].astype(float)}, "one integer per image"),
        (lambda a: {"y_train": np.eye(4, dtype=int)[a["y_train"]]}, "one integer per image"),
        (lambda a: {"x_train": a["x_train"].transpose(0, 3, 1, 2)}, "channels last"),
        (lambda a: {"x_test": a["x_test"][:, 1:]}, "must have one shape"),
        (lambda a: {k: a[k][:4] for k in ("x_train", "y_train")}, "4 training and 20 test images"),
        (lambda a: {k: a[k][:0] for k in ("x_test", "y_test")}, "50 training and 0 test images"),
    ],
)
def test_foreign_arrays_are_refused(change, message):
    arrays = make_arrays()
    with pytest.raises(UserError, match=message) as caught:
        normalise({**arrays, **change(arrays)}, "set.npz")
    assert str(caught.value).startswith("set.npz")
    assert "\n" not in str(caught.value)


def test_missing_arrays_are_named():
    arrays = make_arrays()
    del arrays["y_test"], arrays["x_train"]
    with pytest.raises(UserError, match="no x_train, y_test"):
        normalise(arrays, "set.npz")


def test_digests_are_those_of_the_bytes_in_c_order():
    arrays = make_arrays()
    expected = {key: hashlib.sha256(arrays[key].tobytes()).hexdigest() for key in KEYS}
    fortran = {key: np.asfortranarray(array) for key, array in arrays.items()}
    assert digests(fortran) == expected
    lines = "".join(f"{key} {expected[key]}\n" for key in KEYS)
    assert combined_digest(expected) == hashlib.sha256(lines.encode()).hexdigest()
