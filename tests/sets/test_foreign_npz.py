"""Other projects' npz files: the scale of labels, their dtypes, and the classes of the images."""

import ml_dtypes
import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.sets.learned_set import LearnedSet

N, K, SHAPE = 20, 10, (2, 3, 3)
RNG = np.random.default_rng(0)
CLASSES = RNG.permutation(np.arange(N) % K)
IMAGES = RNG.normal(size=(N, *SHAPE)).astype(np.float32)
E = np.eye(K)[CLASSES]
CENTRED = E - 0.1


@pytest.fixture
def read(tmp_path):
    def read(labels, images=IMAGES, **arrays):
        path = tmp_path / "theirs.npz"
        np.savez(path, images=images, labels=labels, **arrays)
        return LearnedSet.from_npz(path, SHAPE, K)

    return read


SUM_TO_ONE = "note: theirs.npz: the labels sum to 1 in every row: 1/10 is taken off each\n"


@pytest.mark.parametrize(
    ("labels", "wanted", "tolerance"),
    [
        (E, CENTRED, 1e-15),
        (0.9 * E + 0.01, 0.9 * E - 0.09, 1e-15),
        (E * 0.999999 + 1e-7, CENTRED, 1e-6),
        ((0.9 * E + 0.01).astype("f2"), 0.9 * E - 0.09, 1e-3),
        (E.astype(bool), CENTRED, 1e-15),
        (E.astype("u8"), CENTRED, 1e-15),
    ],
)
def test_rows_that_sum_to_one_are_centred_and_it_is_said(read, capsys, labels, wanted, tolerance):
    np.testing.assert_allclose(read(labels).labels, wanted, rtol=0, atol=tolerance)
    assert capsys.readouterr().err == SUM_TO_ONE


def test_rows_that_sum_to_zero_are_taken_as_they_are(read, capsys):
    for labels in (CENTRED, 0.9 * E - 0.09, np.zeros((N, K))):
        np.testing.assert_array_equal(read(labels).labels, labels)
    assert capsys.readouterr().err == ""


def test_other_rows_are_taken_as_they_are_and_it_is_said(read, capsys):
    mixed = np.where(np.arange(N)[:, None] < 10, E, CENTRED)
    for labels in (3 * E, mixed):
        np.testing.assert_array_equal(read(labels).labels, labels)
        assert "not to 0 or 1: they are taken as they are" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "g", "u1", "u8", ">i4", "i8"])
@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_class_numbers_of_any_dtype(read, capsys, dtype, shape):
    found = read(CLASSES.astype(dtype).reshape(shape), classes=CLASSES.astype(dtype))
    np.testing.assert_allclose(found.labels, CENTRED, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(found.classes, CLASSES)
    assert found.classes.dtype == np.int64 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": CLASSES.astype(str)}, "the labels are of dtype <U21, text: save numbers"),
        ({"labels": CLASSES.astype("S2")}, "of dtype |S2, text"),
        ({"labels": E.astype("c8")}, "of dtype complex64, complex: save x.real"),
        ({"labels": E.astype(ml_dtypes.bfloat16)}, "bfloat16 is saved by NumPy: save x.astype"),
        ({"labels": E, "images": IMAGES[:0]}, "holds no images"),
        ({"labels": E.view([("y", "f8")])}, "the labels are records of y: save one array"),
        ({"labels": E.astype("M8[s]")}, "dtype datetime64[s], not numbers"),
        ({"labels": CLASSES + 0.5}, "labels (20,) do not fit 20 images of 10 classes"),
        ({"labels": CLASSES + 1}, "class numbers 0..9"),
        ({"labels": CLASSES - 1.0}, "class numbers 0..9"),
        ({"labels": E[:, :9]}, "labels (20, 9) do not fit"),
        ({"labels": E, "images": IMAGES.astype("c8")}, "the images are of dtype complex64"),
        ({"labels": E, "images": IMAGES.astype("U8")}, "the images are of dtype <U8, text"),
        ({"labels": E, "classes": CLASSES[:5]}, "classes must be 20 class numbers"),
        ({"labels": E, "classes": CLASSES * np.nan}, "the classes have NaN"),
    ],
)
def test_what_holds_no_numbers_is_refused_by_its_dtype(read, arrays, says):
    with pytest.raises(UserError) as refused:
        _ = read(**arrays).arrays
    assert says in str(refused.value) and "theirs.npz" in str(refused.value)


def test_images_of_every_dtype_keep_their_values(read):
    whole = np.rint(4 * IMAGES)
    for dtype in ("f2", ">f4", "g", "i8", "u1"):
        images = (whole if dtype != "u1" else np.abs(whole)).astype(dtype)
        found = read(CENTRED, images).images
        np.testing.assert_array_equal(found, images)
        assert found.dtype.isnative and found.dtype.itemsize <= 8


def test_classes_are_not_guessed_against_the_labels(read):
    learned = 0.9 * E + 0.01
    with pytest.raises(UserError, match=r"of its 20 labels are not largest at .* `classes`"):
        _ = read(learned).classes
    np.testing.assert_array_equal(read(learned, classes=CLASSES).classes, CLASSES)
    ordered = learned[np.argsort(CLASSES, kind="stable")]
    np.testing.assert_array_equal(read(ordered).classes, np.repeat(np.arange(K), 2))
