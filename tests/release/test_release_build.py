"""Building: the same bytes twice, every array bit-equal to its checkpoint, nothing half done."""

import json
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from distilled_sets import FIXED, LEARNED, SETS, edit_json, files_below, listed_again
from PIL import Image

import release
from paper_repro.core import methods
from paper_repro.core.cli import run
from paper_repro.core.data import load_dataset
from paper_repro.core.data.npz import write_npz
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import fitted
from paper_repro.core.preprocess import load as load_transform
from paper_repro.core.sets.catalogue import read_set
from release.__main__ import COMMANDS, main
from release.card.citation import citation_file, papers
from release.format.given import NpzSets
from release.format.publication import REPOSITORY, VERSION, publication


@pytest.mark.parametrize("name", SETS)
def test_rows_are_bit_equal_to_the_checkpoint(made, name, tmp_path):
    learned = read_set(made.checkpoints, name)
    images, labels = learned.images, learned.labels
    rows = datasets.load_dataset(str(made.folder), name, split="train", cache_dir=str(tmp_path))
    assert set(rows.column_names) == {
        *("image_whitened", "image", "soft_label", "label", "support_index")
    }
    assert rows.features["image_whitened"] == datasets.Array3D((8, 8, 3), "float32")
    assert rows.features["soft_label"] == datasets.List(datasets.Value("float32"), length=4)
    assert rows.features["label"].names == ["an apple", "a <b>", "c|d", "é"]
    numbers = rows.with_format("numpy")
    assert np.array(numbers["image_whitened"][:]).tobytes() == images.tobytes()
    assert np.array(numbers["soft_label"][:]).tobytes() == labels.tobytes()
    per_class = learned.record["images_per_class"]
    assert rows["label"][:] == sorted(list(range(4)) * per_class)
    assert rows["support_index"][:] == list(range(4 * per_class))
    with np.load(made.folder / "npz" / f"{name}.npz") as file:
        assert file.files == ["images", "labels"]
        assert file["images"].tobytes() == images.tobytes()
        assert file["labels"].tobytes() == labels.tobytes()
    record = json.loads((made.folder / "records" / f"{name}.json").read_text())
    assert {k: v for k, v in record.items() if k != "release"} == dict(learned.record)


def test_previews_are_the_inverse_transform(made):
    kept = load_transform(made.folder / "transforms" / "tiny-zca.safetensors")
    images = read_set(made.checkpoints, LEARNED).images
    table = pq.read_table(made.folder / "data" / LEARNED / "train-00000-of-00001.parquet")
    for cell, expected in zip(table["image"].to_pylist(), kept.preview(images), strict=True):
        import io

        picture = Image.open(io.BytesIO(cell["bytes"]))
        assert picture.format == "PNG" and picture.info == {}
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_an_older_release_is_replaced_and_anything_else_refused(made, copy, tmp_path):
    (copy / "npz" / "stale.npz").write_text("of the release before")
    listed_again(copy)
    release.build(copy, checkpoints=made.checkpoints, data_dir=made.data_dir)
    assert files_below(copy) == files_below(made.folder)
    foreign, page, clone = tmp_path / "thesis", tmp_path / "page", tmp_path / "clone"
    foreign.mkdir()
    (foreign / "chapter1.tex").write_text("precious")
    page.mkdir()
    (page / "manifest.json").write_text('{"name": "a web page"}')
    shutil.copytree(made.folder, clone)
    (clone / ".git").mkdir()
    (clone / ".git" / "HEAD").write_text("precious")
    (copy / "notes.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for out in (foreign, page, clone, copy, tmp_path / "file"):
        before = files_below(tmp_path)
        with pytest.raises(UserError, match="choose another --out"):
            release.build(out, checkpoints=made.checkpoints, data_dir=made.data_dir)
        assert files_below(tmp_path) == before


def test_transforms_of_another_release_need_no_data(made, tmp_path, monkeypatch):
    monkeypatch.setenv("KIP_CACHE_DIR", str(tmp_path / "empty"))
    names = release.build(
        tmp_path / "r", checkpoints=made.checkpoints, transforms=made.folder / "transforms"
    )
    assert names == sorted(SETS)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert files_below(tmp_path / "r") == files_below(made.folder)


def test_npz_files_are_scored_and_released(made, tmp_path):
    data = load_dataset("tiny", made.data_dir)
    images = fitted(data, "zca").apply(data.x_train[:8], np.float64)
    classes = data.y_train[:8]
    order = np.argsort(classes, kind="stable")[::-1]
    images, classes = images[order], classes[order]
    if (np.bincount(classes, minlength=4) != 2).any():
        picked = np.concatenate([np.flatnonzero(data.y_train == c)[:2] for c in (3, 1, 0, 2)])
        images = fitted(data, "zca").apply(data.x_train[picked], np.float64)
        classes = data.y_train[picked]
    path = tmp_path / "theirs.npz"
    np.savez(path, images=images, labels=centred_one_hot(classes, 4))
    given = NpzSets((path,), dataset="tiny", architecture="FC1")
    (name,) = release.build(tmp_path / "r", given, data_dir=made.data_dir)
    assert name == "tiny-fc1-ipc2-zca-fixed-noaug"
    found = release.load(name, tmp_path / "r")
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_array_equal(found.images, images.astype(np.float32))
    assert found.record["metrics"]["n_test"] == 200
    assert release.verify(tmp_path / "r", score=True, data_dir=made.data_dir) == [name]


def test_another_process_builds_the_same_bytes(made, tmp_path):
    command = [sys.executable, "-m", "release", "build", "--checkpoints", made.checkpoints]
    command += ["--data-dir", made.data_dir, "--out", tmp_path / "r"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "4 sets" in done.stdout and "release verify" in done.stdout
    assert files_below(tmp_path / "r") == files_below(made.folder)


def test_load_as_a_command_saves_the_arrays(made, tmp_path, capsys):
    arguments = ["load", FIXED, "--source", made.folder, "--npz", tmp_path / "set.npz"]
    run(main, list(map(str, arguments)), commands=COMMANDS)
    assert "one-hot minus 1/K" in capsys.readouterr().out
    with np.load(tmp_path / "set.npz") as file:
        assert set(file.files) == {"images", "labels", "classes"}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_of_every_command(name, capsys):
    with pytest.raises(SystemExit) as stop:
        run(main, [*([name] if name else []), "--help"], commands=COMMANDS)
    assert stop.value.code == 0 and "python -m release" in capsys.readouterr().out


def test_a_release_is_up_to_date_until_a_set_is_added_changed_or_taken_away(made, copy, tmp_path):
    assert release.up_to_date(made.folder, made.checkpoints)
    assert not release.up_to_date(tmp_path / "none", made.checkpoints)
    records = copy / "records"
    (records / f"{FIXED}.json").rename(records / "other.json")
    assert not release.up_to_date(copy, made.checkpoints)
    (records / "other.json").rename(records / f"{FIXED}.json")
    assert release.up_to_date(copy, made.checkpoints)
    record = json.loads((records / f"{FIXED}.json").read_text())
    (records / f"{FIXED}.json").write_text(json.dumps({**record, "file_sha256": "0" * 64}))
    assert not release.up_to_date(copy, made.checkpoints)


def test_a_release_of_ones_own_names_its_own_terms_in_every_file(made, tmp_path):
    release.build(
        tmp_path / "r",
        checkpoints=made.checkpoints,
        data_dir=made.data_dir,
        repository="ada/my-sets",
        license_id="cc-by-4.0",
        version="v1.2.0",
    )
    release.verify(tmp_path / "r", checkpoints=made.checkpoints)
    names = ("README.md", "CITATION.cff", "croissant.json", "index.html", "manifest.json")
    text = {name: (tmp_path / "r" / name).read_text() for name in names}
    for name in names:
        assert "1.2.0" in text[name] and VERSION not in text[name]
    for name in ("README.md", "CITATION.cff", "croissant.json"):
        assert "ada/my-sets" in text[name] and REPOSITORY not in text[name]
        assert "maintainers" not in text[name]
    described = json.loads(text["croissant.json"])
    assert (described["creator"]["name"], described["license"]) == ("ada", "cc-by-4.0")
    assert "license: cc-by-4.0\n" in text["README.md"]
    assert "Apache" not in text["CITATION.cff"]
    assert "license: other\n" in (made.folder / "README.md").read_text()
    assert "Apache" not in (made.folder / "CITATION.cff").read_text()


def test_what_a_release_cannot_be_published_as_is_refused(made, tmp_path):
    arguments = {"checkpoints": made.checkpoints, "data_dir": made.data_dir}
    for change, words in (
        ({"repository": "my-sets"}, "must be namespace/name"),
        ({"version": "main"}, "--version 'main' cannot be the tag"),
        ({"creator": " "}, "--creator ' ' is not a name"),
    ):
        with pytest.raises(UserError, match=words):
            release.build(tmp_path / "r", **arguments, **change)
    assert list(tmp_path.iterdir()) == []


def test_a_creator_is_cited():
    published = publication([], "ada/my-sets", creator="Ada Lovelace")
    assert "Ada Lovelace" in citation_file([], published)


def test_the_papers_of_the_methods_are_cited():
    for method in methods.methods():
        for variant in method.variants:
            cited = [paper.arxiv for paper in papers([{"method": variant}])]
            wanted = method.papers or ("2107.13034", "2011.00050")
            assert sorted(cited) == sorted(wanted), variant


def test_the_card_tells_natural_images_and_reduced_budgets(made, checkpoints, tmp_path):
    def solved(record):
        record["method"] = "LS"
        record["budget"] = {"n_targets": 400, "reduced": False}

    def undertrained(record):
        del record["budget"]["reduced"]

    edit_json(checkpoints / FIXED / "record.json", solved)
    edit_json(checkpoints / LEARNED / "record.json", undertrained)
    release.build(tmp_path / "r", checkpoints=checkpoints, data_dir=made.data_dir)
    text = (tmp_path / "r" / "README.md").read_text()
    assert f"unchanged training images, their labels alone were learned: {FIXED}." in text
    (budgets,) = [line for line in text.splitlines() if "less than the papers' budget" in line]
    assert f"{LEARNED} (7 steps)" in budgets and FIXED not in budgets


def test_a_set_that_the_release_could_not_describe_is_refused_before_it_is_scored(made, tmp_path):
    write_npz(
        tmp_path / "s.npz",
        {"images": np.zeros((4, 8, 8, 3), np.float32), "labels": np.eye(4, dtype=np.float32)},
    )
    given = NpzSets((tmp_path / "s.npz",), "tiny", architecture="FC1", diag_reg=2.0)
    with pytest.raises(UserError, match="diag_reg"):
        release.build(tmp_path / "r", given, data_dir=made.data_dir)
    assert not (tmp_path / "r").exists()


def test_the_license_is_ours_for_official_data_and_asked_for_otherwise():
    def record(dataset, method, preset="laptop"):
        return {"dataset": dataset, "method": method, "preset": preset}

    official = [record("mnist", "KIP"), record("cifar10", "KIP (l)")]
    own = [*official, record("shapes", "KIP")]
    natural = [*official, record("mnist", "LS")]
    given = [*official, record("mnist", "KIP", preset=None)]
    assert publication(given, "me/sets").license == "other"
    assert publication(official, "me/sets").license == "apache-2.0"
    assert publication(natural, "me/sets").license == "other"
    assert publication(own, "me/sets").license == "other"
    assert publication(own, "me/sets", "cc-by-4.0").license == "cc-by-4.0"
    with pytest.raises(UserError, match="--license 'CC BY' is not an identifier"):
        publication(own, "me/sets", "CC BY")
