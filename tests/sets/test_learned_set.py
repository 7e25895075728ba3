"""The one type of learned sets, their names, records and scores."""

from pathlib import Path

import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import from_name
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.runs.cell import cell_of
from paper_repro.core.sets.catalogue import read_catalogue, read_set
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import set_name
from paper_repro.core.sets.record import FIELDS, complete, require_valid_record
from paper_repro.core.sets.scoring import held_out, score

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 4, 4, 3)).astype(np.float32)
CLASSES = np.array([2, 0, 1, 0, 1, 2])
FIXED = centred_one_hot(CLASSES, 3)


def learned_labels():
    return FIXED + 0.1 * np.random.default_rng(1).standard_normal(FIXED.shape)


def test_a_set_of_arrays_knows_its_classes():
    fixed = LearnedSet.of(IMAGES, FIXED, {"name": "mine", "step": 4})
    assert (fixed.name, fixed.path, fixed.steps) == ("mine", None, [])
    assert fixed.images is IMAGES and fixed.labels is FIXED
    assert (fixed.n_classes, fixed.images_per_class, fixed.has_fixed_labels) == (3, 2, True)
    np.testing.assert_array_equal(fixed.classes, CLASSES)
    order = np.argsort(CLASSES, kind="stable")
    by_place = LearnedSet.of(IMAGES, learned_labels()[order])
    assert not by_place.has_fixed_labels
    np.testing.assert_array_equal(by_place.classes, [0, 0, 1, 1, 2, 2])
    with pytest.raises(UserError, match=r"3 of its 6 labels are not largest at .*`classes`"):
        _ = LearnedSet.of(IMAGES, learned_labels()).classes
    stated = LearnedSet.of(IMAGES, learned_labels(), classes=CLASSES)
    np.testing.assert_array_equal(stated.classes, CLASSES)
    assert fixed.at_step(4) is fixed
    with pytest.raises(UserError, match=r"mine keeps no step 3: choose from \[\]"):
        fixed.at_step(3)


def test_arrays_of_different_lengths_are_refused():
    for labels, classes in ((FIXED[:5], None), (FIXED, CLASSES[:5])):
        with pytest.raises(UserError, match="differ in length"):
            LearnedSet.of(IMAGES, labels, classes=classes)
    with pytest.raises(UserError, match="5 images cannot be shared equally by 3"):
        _ = LearnedSet.of(IMAGES[:5], FIXED[:5]).images_per_class


@pytest.mark.parametrize("labels", ["numbers", "one-hot", "centred", "learned"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_an_npz_is_read_in_every_form(tmp_path, labels, channels_first):
    given = {"numbers": CLASSES, "one-hot": FIXED + 1 / 3, "centred": FIXED}
    images = IMAGES.transpose(0, 3, 1, 2) if channels_first else IMAGES
    np.savez(tmp_path / "set.npz", images=images, labels=given.get(labels, learned_labels()))
    found = LearnedSet.from_npz(tmp_path / "set.npz", (4, 4, 3), 3)
    assert (found.name, found.path, dict(found.record)) == ("set", tmp_path / "set.npz", {})
    np.testing.assert_array_equal(found.kernel_inputs, IMAGES)
    expected = learned_labels() if labels == "learned" else FIXED
    np.testing.assert_allclose(found.labels, expected, rtol=0, atol=1e-15)
    assert found.labels.dtype == np.float64
    assert found.has_fixed_labels == (labels != "learned")


def test_an_npz_may_state_its_classes(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, labels=learned_labels(), classes=CLASSES.astype(np.uint8))
    np.testing.assert_array_equal(LearnedSet.from_npz(path, (4, 4, 3), 3).classes, CLASSES)
    np.savez(path, images=IMAGES, labels=learned_labels(), classes=CLASSES / 2)
    with pytest.raises(UserError, match="classes must be 6 class numbers"):
        _ = LearnedSet.from_npz(path, (4, 4, 3), 3).classes


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    missing = LearnedSet.from_npz(tmp_path / "none.npz", (4, 4, 3), 3)
    with pytest.raises(UserError, match="no support set at"):
        _ = missing.images
    committed = read_catalogue(CHECKPOINTS)[0]
    assert "arrays" not in vars(committed)
    assert len(committed.images) and "arrays" in vars(committed)


def test_the_committed_sets_have_the_names_that_their_records_make():
    for learned in read_catalogue(CHECKPOINTS):
        assert cell_of(learned.record["config"]).set_name == learned.name
    assert set_name("mnist", "Myrtle 10", 1, True, "fixed-aug", "NNGP") == (
        "mnist-myrtle10-ipc1-zca-fixed-aug-nngp"
    )


def test_a_step_of_a_series_is_a_set_of_its_own():
    (learned, *_) = [found for found in read_catalogue(CHECKPOINTS) if found.steps]
    step = learned.steps[1]
    then = learned.at_step(step)
    stated = next(entry for entry in learned.record["series"] if entry["step"] == step)
    assert (then.name, then.record["step"], then.steps) == (learned.name, step, [])
    assert then.record["file_sha256"] == stated["sha256"]
    assert then.record["metrics"] == stated["metrics"]
    assert then.images.shape == learned.images.shape and (then.images != learned.images).any()


FACTS = {
    name: value
    for name, value in read_catalogue(CHECKPOINTS)[0].record.items()
    if not FIELDS[name].nullable
}


def test_a_record_is_completed_with_what_is_not_known():
    short = {k: v for k, v in FACTS.items() if k not in ("format", "series", "budget", "config")}
    record = complete(short)
    assert list(record) == list(FIELDS) and record["format"] == 1
    assert (record["seed"], record["series"], record["budget"]) == (None, [], {})
    require_valid_record(record, "record")
    assert "metrics" not in complete({k: v for k, v in short.items() if k != "metrics"})
    with pytest.raises(UserError, match="a record needs data_sha256"):
        complete({k: v for k, v in short.items() if k != "data_sha256"})
    with pytest.raises(UserError, match="a record has no field 'colour'"):
        complete({**short, "colour": "red"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images_per_class": 0}, "images_per_class is 0, outside"),
        ({"zca": "yes"}, "zca is 'yes', not bool"),
        ({"diag_reg": float("nan")}, "diag_reg is nan"),
        ({"name": "../x"}, "'../x' cannot name a set"),
        ({"title": ""}, "title is not a printable text"),
        ({"metrics": {"test_accuracy": 0.5, "test_mse": 0.1}}, "metrics lacks n_test"),
        ({"series": [{"step": 1}]}, "series lacks sha256"),
        ({"series": [1]}, "series must be a list of objects"),
    ],
)
def test_what_a_record_cannot_hold_is_named(change, words):
    with pytest.raises(UserError, match=f"record.*{words}"):
        require_valid_record(complete({**FACTS, **change}), "record")


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    for content, words in (("[", "cannot be read"), ("[]", "is not the record of 'a'")):
        (tmp_path / "a" / "record.json").write_text(content)
        with pytest.raises(UserError, match=words):
            read_set(tmp_path, "a")


@pytest.mark.parametrize("name", ["FC1", "RBF"])
def test_a_score_is_that_of_numpy(name):
    kernel_fn = from_name(name, "NTK", "float64")
    x_test, y_test = RNG.standard_normal((9, 4, 4, 3)), np.arange(9) % 3
    seen = []
    found = score(
        LearnedSet.of(IMAGES, FIXED),
        held_out(kernel_fn, None, x_test, y_test, 3),
        kernel_fn,
        1e-3,
        lambda done, of: seen.append((done, of)),
    )
    k_ss, k_ts = np.asarray(kernel_fn(IMAGES)), np.asarray(kernel_fn(x_test, IMAGES))
    k_ss = k_ss + 1e-3 * np.trace(k_ss) / 6 * np.eye(6)
    predicted = k_ts @ np.linalg.solve(k_ss, FIXED)
    assert found.accuracy == np.mean(predicted.argmax(1) == y_test)
    wrong = predicted - (np.eye(3)[y_test] - 1 / 3)
    assert found.mse == pytest.approx(0.5 * np.mean(wrong**2), rel=1e-9)
    assert (found.n, seen[0], seen[-1]) == (9, (0, 90), (90, 90))
    with pytest.raises(UserError, match="9 images but 8 labels"):
        held_out(kernel_fn, None, x_test, y_test[:8], 3)
