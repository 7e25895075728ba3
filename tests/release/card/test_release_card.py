"""The card: its code runs and its numbers come from the records; the Croissant file is readable."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from distilled_sets import LEARNED, SETS
from documents import problems, read_document

from paper_repro.core.data import load_dataset
from paper_repro.core.network.settings import ADAM
from paper_repro.core.network.training import TrainingConfig
from paper_repro.core.preprocess import load as load_transform
from paper_repro.core.sets.scoring import tolerance
from paper_repro.core.tables.statistics import binomial_interval
from release.card.check import snippets
from release.card.tables import RECOMMENDED, SMALL_WIDTH
from release.format.publication import REPOSITORY, VERSION


@pytest.fixture
def blocks(made):
    """The code of the card with what it says of a local copy: its path, and no revision."""
    load, transform, score = snippets((made.folder / "README.md").read_text())
    here, revision = f'"{made.folder}"', f', revision="{VERSION}"'
    load, score = (
        code.replace(f'"{REPOSITORY}"', here).replace(revision, "") for code in (load, score)
    )
    download = re.compile(r"hf_hub_download\(\s*\S+, \"(\S+)\".*?\)", re.DOTALL)
    return load, download.sub(rf'"{made.folder}/\1"', transform), score


def test_loading_with_datasets(made, blocks, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    scope = {}
    exec(blocks[0], scope)
    with np.load(made.folder / "npz" / f"{LEARNED}.npz") as file:
        for name, key in (("x_support", "images"), ("y_support", "labels")):
            assert scope[name].dtype == np.float32
            np.testing.assert_array_equal(scope[name], file[key])


def test_the_transform_with_numpy_alone(made, blocks):
    scope = {}
    exec(blocks[1], scope)
    raw = load_dataset("tiny", made.data_dir).x_test[:20]
    kept = load_transform(made.folder / "transforms" / "tiny-zca.safetensors")
    assert np.abs(scope["apply"](raw) - kept.apply(raw)).max() < 1e-5


def test_scoring_by_krr(made, blocks, capsys):
    exec(blocks[2].replace('"DIRECTORY"', repr(str(made.data_dir))), {})
    accuracy = float(capsys.readouterr().out.split()[1])
    record = json.loads((made.folder / "records" / f"{LEARNED}.json").read_text())
    metrics = record["metrics"]
    # The tiny test set is smaller than what the snippet asks for: the same images.
    allowed = tolerance(metrics["test_accuracy"], metrics["n_test"], min(2_000, metrics["n_test"]))
    assert abs(accuracy - metrics["test_accuracy"]) <= allowed


def test_numbers_of_the_results_table(made):
    text = (made.folder / "README.md").read_text()
    for name in SETS:
        record = json.loads((made.folder / "records" / f"{name}.json").read_text())
        (row,) = re.findall(rf"^\| `{name}` \| tiny.*$", text, re.MULTILINE)
        accuracy = record["metrics"]["test_accuracy"]
        low, high = binomial_interval(accuracy, 200)
        assert f"| {100 * accuracy:.2f} | {100 * low:.2f} to {100 * high:.2f} | 200 |" in row


def test_hyperparameters_are_those_of_the_training_code():
    defaults = TrainingConfig()
    for key in ("steps", "batch", "learning_rate_factor", "l2", "momentum"):
        assert RECOMMENDED[key] == getattr(defaults, key)
    for key in ("width", "steps", "batch"):
        assert SMALL_WIDTH[key] == getattr(ADAM, key)
    for key in ("label_scale", "learning_rate", "l2"):
        assert (SMALL_WIDTH[key],) == getattr(ADAM, key)
    assert (ADAM.optimizer, ADAM.parameterisation) == ("adam", "ntk")
    assert ADAM.augmentation == {"shift": 0, "flip": True}


def test_croissant_reads_the_rows(made):
    # In a process of its own: where `datasets` is imported first, its array type is registered
    # with Arrow and pandas 3 cannot convert it.
    code = f"""
import json, mlcroissant
described = mlcroissant.Dataset(jsonld={str(made.folder / "croissant-local.json")!r})
names = sorted(found.uuid for found in described.metadata.record_sets)
labels = (row[{LEARNED + "/soft_label"!r}] for row in described.records({LEARNED!r}))
rows = [list(map(float, label)) for label in labels]
print(json.dumps([names, rows]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=made.folder, timeout=600
    )
    assert done.returncode == 0, done.stderr
    names, rows = json.loads(done.stdout)
    assert names == sorted(SETS)
    with np.load(made.folder / "npz" / f"{LEARNED}.npz") as file:
        np.testing.assert_array_equal(np.array(rows, np.float32), file["labels"])


def test_the_card_keeps_its_promises(made):
    card = read_document(made.folder / "README.md")
    assert card.links and card.python
    assert problems(card) == []
