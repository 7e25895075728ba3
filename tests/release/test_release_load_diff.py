"""Loading sets from a folder, and comparing two folders."""

import json

import numpy as np
import pytest
from distilled_sets import FIXED, LEARNED, SETS, edit_json, listed_again

import release
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import from_name
from paper_repro.core.krr import predict, score
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.sets.catalogue import read_set
from paper_repro.core.sets.learned_set import LearnedSet
from release.card.tables import RECOMMENDED
from release.format.rows import write_parquet


@pytest.mark.parametrize("name", SETS)
def test_what_is_loaded(made, name):
    kept = read_set(made.checkpoints, name)
    found = release.load(name, made.folder)
    assert found.images.tobytes() == kept.images.tobytes()
    assert found.labels.tobytes() == kept.labels.tobytes()
    assert found.class_names == ("an apple", "a <b>", "c|d", "é")
    assert found.hyperparameters == RECOMMENDED
    data = load_dataset("tiny", made.data_dir)
    kernel = from_name("FC1", "NTK")
    k_ts = np.asarray(kernel(found.transform.apply(data.x_test), found.images))
    result = score(
        predict(k_ts, np.asarray(kernel(found.images)), found.labels),
        centred_one_hot(data.y_test, 4),
    )
    assert abs(result.accuracy - found.record["metrics"]["test_accuracy"]) <= 1e-3


def test_other_array_libraries(made):
    import jax

    found = release.load(LEARNED, made.folder, as_="jax")
    assert isinstance(found.images, jax.Array) and found.images.dtype == "float32"
    try:
        import torch
    except ImportError:
        with pytest.raises(UserError, match="needs PyTorch"):
            release.load(LEARNED, made.folder, as_="torch")
    else:
        found = release.load(LEARNED, made.folder, as_="torch")
        assert found.labels.dtype == torch.float32
    with pytest.raises(UserError, match="unknown array library"):
        release.load(LEARNED, made.folder, as_="list")


def test_what_cannot_be_loaded(copy, tmp_path):
    for name, source, words in (
        ("nothing", copy, "no set 'nothing'"),
        ("../x", copy, "is not the name of a set"),
        (LEARNED, tmp_path / "void", "is not a release folder"),
        (LEARNED, "not a repository", "neither a folder nor a repository"),
    ):
        with pytest.raises(UserError, match=words):
            release.load(name, source)
    with pytest.raises(UserError, match="has no revisions"):
        release.load(LEARNED, copy, revision="v1.0.0")
    path = copy / "npz" / f"{LEARNED}.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="has changed"):
        release.load(LEARNED, copy)
    release.load(FIXED, copy)  # its files are whole


def test_no_difference(made, copy):
    found = release.diff(made.folder, copy)
    assert not any((found.sets_added, found.sets_removed, found.sets_changed, found.files_changed))


def test_differences(made, copy):
    for path in (copy / "npz", copy / "records"):
        for file in path.glob(f"{FIXED}.*"):
            file.unlink()
    path = copy / "npz" / f"{LEARNED}.npz"
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    moved = images.copy()
    moved[0, 0, 0, 0] += 0.25
    np.savez(path, images=moved, labels=labels)
    record = json.loads((copy / "records" / f"{LEARNED}.json").read_text())
    edit_json(copy / "records" / f"{LEARNED}.json", lambda r: r.update(step=9))
    listed_again(copy)
    found = release.diff(made.folder, copy)
    assert found.sets_removed == (FIXED,) and found.sets_added == ()
    (change,) = found.sets_changed
    assert change.name == LEARNED and change.labels == 0 and change.accuracy == 0
    assert change.images == pytest.approx(0.25, abs=1e-6)
    assert change.record == ("step",)
    assert release.diff(copy, made.folder).sets_added == (FIXED,)
    # Rows written for the moved images differ as a file.
    learned = LearnedSet.of(moved, labels, record, classes=np.arange(4))
    write_parquet(
        copy / "data" / LEARNED / "train-00000-of-00001.parquet",
        learned,
        np.zeros((4, 8, 8, 3), np.uint8),
    )
    listed_again(copy)
    assert any(LEARNED in path for path in release.diff(made.folder, copy).files_changed)
