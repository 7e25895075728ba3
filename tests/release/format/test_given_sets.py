"""Sets given as npz files: their classes, labels and transform, and what the card says of them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import release
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import fitted, from_file
from paper_repro.core.preprocess.transform import digest
from release.format.given import NpzSets, from_npz

N = 8


@pytest.fixture
def theirs(made, tmp_path_factory):
    """(directory, data, images, classes): two images of each class, in random order."""
    data = load_dataset("tiny", made.data_dir)
    rows = np.concatenate([np.flatnonzero(data.y_train == c)[:2] for c in range(4)])
    rows = np.random.default_rng(0).permutation(rows)
    return tmp_path_factory.mktemp("theirs"), data, data.x_train[rows], data.y_train[rows]


def build(out, made, path, **facts):
    given = NpzSets((path,), dataset="tiny", architecture="FC1", **facts)
    return release.build(out, given, data_dir=made.data_dir)


def test_classes_are_never_guessed_against_the_labels(made, theirs, tmp_path):
    """The label column of the rows was the place of the image, whatever its label said."""
    place, data, raw, classes = theirs
    images, labels = fitted(data, "zca").apply(raw), 0.9 * np.eye(4)[classes] + 0.025
    np.savez(place / "shuffled.npz", images=images, labels=labels)
    with pytest.raises(UserError, match=r"shuffled\.npz .* labels are not largest .* `classes`"):
        build(tmp_path / "r", made, place / "shuffled.npz")
    assert list(tmp_path.iterdir()) == []
    np.savez(place / "told.npz", images=images, labels=labels, classes=classes)
    (name,) = build(tmp_path / "r", made, place / "told.npz")
    found = release.load(name, tmp_path / "r")
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_array_equal(found.labels.argmax(1), classes)
    np.testing.assert_allclose(found.labels, 0.9 * np.eye(4)[classes] - 0.225, atol=1e-7)
    assert release.verify(tmp_path / "r", score=True, data_dir=made.data_dir) == [name]


def test_classes_of_different_sizes_are_refused_when_built(made, theirs, tmp_path):
    place, data, raw, classes = theirs
    images = fitted(data, "zca").apply(raw)
    uneven = classes.copy()
    uneven[np.argmax(uneven == 3)] = 0
    arrays = {
        "fixed": {"labels": uneven},
        "learned": {"labels": 3 * np.eye(4)[classes], "classes": uneven},
    }
    for name, given in arrays.items():
        np.savez(place / f"{name}.npz", images=images, **given)
        with pytest.raises(UserError, match="between 1 and 3 images: a release has as many"):
            build(tmp_path / "r", made, place / f"{name}.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["assumed", "named", "recipe", "saved"])
def test_a_transform_is_shipped_with_what_is_known_of_it(made, theirs, tmp_path, form):
    place, data, raw, classes = theirs
    recipe = {
        "name": "dc",
        "source": "their paper",
        "pixel_range": 1,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
    }
    (place / "dc.json").write_text(json.dumps(recipe))
    facts, transform, kind = {
        "assumed": ({}, fitted(data, "zca"), "zca"),
        "named": ({"preprocess": "zca-mtt"}, fitted(data, "zca-mtt"), "zca-mtt"),
        "recipe": ({"transform": place / "dc.json"}, from_file(place / "dc.json", data), "dc"),
        "saved": (
            {"transform": made.folder / "transforms/tiny-standard.safetensors"},
            fitted(data, "standard"),
            "tiny-standard",
        ),
    }[form]
    np.savez(place / f"{form}.npz", images=transform.apply(raw), labels=classes)
    (name,) = build(tmp_path / "r", made, place / f"{form}.npz", **facts)
    assert ("zca" in name) == (form in ("assumed", "named")) and (kind in name) == (form != "")
    found = release.load(name, tmp_path / "r")
    shipped = f"transforms/tiny-{kind}.safetensors"
    assert found.record["release"]["transform"] == shipped
    assert digest(found.transform) == digest(transform)
    assert found.record["method"] == "not stated"
    assert release.verify(tmp_path / "r", score=True, data_dir=made.data_dir) == [name]

    card = (tmp_path / "r/README.md").read_text()
    assert "very transform" not in card and "license: other\n" in card
    (origin,) = [
        line for line in card.splitlines() if line.startswith(f"- `{shipped}`, for {name}")
    ]
    assert ("assumed: whoever gave the set did not say" in origin) == (form == "assumed")
    assert ("as stated by whoever gave the set" in origin) == (form != "assumed")
    assert ("arXiv 2203.11932" in origin) == (form == "named")
    assert ("It is described in: their paper." in origin) == (form == "recipe")


def test_the_snippet_of_another_transform_runs(made, theirs, tmp_path):
    place, data, raw, classes = theirs
    np.savez(place / "m.npz", images=fitted(data, "zca-mtt").apply(raw), labels=classes)
    build(tmp_path / "r", made, place / "m.npz", preprocess="zca-mtt")
    card = (tmp_path / "r/README.md").read_text()
    code = card.split("Without this project's code:\n\n```python\n")[1].split("```")[0]
    start = code.index("hf_hub_download(\n")
    path = tmp_path / "r/transforms/tiny-zca-mtt.safetensors"
    call = code[start : code.index(")\n", start) + 1]
    code = code.replace(call, repr(str(path))).replace(
        "import hf_hub_download", "import __version__"
    )
    np.save(tmp_path / "raw.npy", data.x_test[:5])
    code += (
        f"\nnp.save({str(tmp_path / 'x.npy')!r}, apply(np.load({str(tmp_path / 'raw.npy')!r})))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    wanted = fitted(data, "zca-mtt").apply(data.x_test[:5])
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), wanted, rtol=0, atol=1e-6)


def test_contradictions_are_refused(made, theirs, tmp_path):
    place, data, raw, classes = theirs
    np.savez(place / "m.npz", images=fitted(data, "zca").apply(raw), labels=classes)
    (place / "zca.json").write_text(json.dumps({"name": "zca", "source": "a test"}))
    for facts, says in (
        ({"preprocess": "zca", "transform": place / "zca.json"}, "give one of them"),
        ({"transform": place / "zca.json"}, "another transform than zca of tiny"),
        ({"transform": place / "none.json"}, "no transform at"),
        ({"preprocess": "pca"}, "choose one of standard, zca, zca-rfad"),
    ):
        with pytest.raises(UserError, match=says):
            build(tmp_path / "r", made, place / "m.npz", **facts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["f2", ">f8", "g", "one number a row", "float class numbers"])
def test_arrays_of_other_dtypes_build_the_same_set(made, theirs, tmp_path, form):
    place, data, raw, classes = theirs
    images = np.float16(fitted(data, "standard").apply(raw))
    arrays = {"images": images.astype(form if len(form) < 4 else "f4"), "labels": classes}
    if form == "one number a row":
        arrays["labels"] = classes[:, None]
    if form == "float class numbers":
        arrays["labels"] = classes.astype("f4")
    np.savez(place / "twin.npz", images=images.astype("f4"), labels=classes)
    np.savez(place / "other.npz", **arrays)
    twin, other = (
        from_npz(NpzSets((place / f"{n}.npz",), "tiny", architecture="FC1"), made.data_dir).sets[0]
        for n in ("twin", "other")
    )
    assert other.images.tobytes() == twin.images.tobytes()
    assert other.labels.tobytes() == twin.labels.tobytes()
    assert other.record["metrics"] == twin.record["metrics"]


@pytest.mark.parametrize(
    ("dtype", "says"),
    [("c8", "complex64, complex: save x.real"), ("U4", "text: save numbers"), ("V2", "bfloat16")],
)
def test_arrays_that_hold_no_numbers_are_refused_with_what_to_save(made, theirs, dtype, says):
    place, _, _, classes = theirs
    images = np.zeros((8, 8, 8, 3), dtype)
    np.savez(place / "bad.npz", images=images, labels=classes)
    with pytest.raises(UserError, match=says):
        from_npz(NpzSets((place / "bad.npz",), "tiny"), made.data_dir)


def test_what_is_known_of_a_shared_transform_is_told_for_each_set(made, theirs, tmp_path):
    place, data, raw, classes = theirs
    np.savez(place / "given.npz", images=fitted(data, "zca").apply(raw), labels=classes)
    given = NpzSets((place / "given.npz",), dataset="tiny", architecture="FC1")
    names = release.build(
        tmp_path / "r", given, checkpoints=made.checkpoints, data_dir=made.data_dir
    )
    found = [release.load(name, tmp_path / "r").record for name in names]
    shared = [r for r in found if r["release"]["transform"] == "transforms/tiny-zca.safetensors"]
    assert len(shared) > 1
    for record in shared:
        is_theirs = record["method"] == "not stated"
        assert ("origin" in record["release"]) == is_theirs
        if is_theirs:
            assert record["release"]["origin"] == "assumed"
