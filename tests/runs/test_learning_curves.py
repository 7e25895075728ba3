"""Curves of stored sets: published ends, minutes, and which sets have a curve at all."""

from pathlib import Path

import pytest
from PIL import Image

from paper_repro.core.runs.learning_curves import curve_of, draw_learning_curves
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet


@pytest.fixture(scope="module")
def stored():
    return {learned.name: learned for learned in read_catalogue(Path("checkpoints"))}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cifar10-convnet-ipc1-zca-learned-noaug", 64.7),  # tables 1 and A3
        ("cifar10-convnet-ipc1-standard-fixed-aug", 50.1),  # table A3
        ("cifar10-convnet-ipc10-zca-fixed-noaug", 67.6),
        ("mnist-convnet-ipc1-standard-learned-noaug", 97.3),  # table 1
        ("fashion_mnist-convnet-ipc1-standard-learned-noaug", 82.9),
        ("mnist-convnet-ipc1-standard-ls", None),  # Label Solve takes no steps
    ],
)
def test_the_end_is_the_papers_figure_of_that_very_set(stored, name, published):
    assert curve_of(stored[name]).published == published


def test_a_cell_that_the_paper_does_not_have_has_no_published_end(stored):
    plain = stored["mnist-convnet-ipc1-standard-learned-noaug"]
    for change in ({"learned_labels": False}, {"zca": True}, {"architecture": "FC1"}):
        other = LearnedSet(plain.name, {**plain.record, **change}, plain.source, plain.series)
        assert curve_of(other).published is None


def test_minutes_are_those_measured_or_the_whole_time_shared_out(stored):
    plain = stored["mnist-convnet-ipc1-standard-learned-noaug"]
    record = {**plain.record, "seconds": 1200.0, "step": 100, "metrics": {"test_accuracy": 0.5}}
    record["hardware"] = {"gpu": None}
    record["series"] = [
        {"step": 0, "metrics": {"test_accuracy": 0.1}},
        {"step": 1, "metrics": {}},
        {"step": 10, "metrics": {"test_accuracy": 0.3}},
        {"step": 20, "metrics": {"test_accuracy": 0.4, "seconds": 90.0}},
    ]
    curve = curve_of(LearnedSet(plain.name, record, plain.source))
    assert curve.points == [(0, 0.0, 10.0), (10, 2.0, 30.0), (20, 1.5, 40.0), (100, 20.0, 50.0)]
    assert (curve.panel, curve.name) == ("MNIST, 10 images", "standard, learned labels")
    record["hardware"] = {"gpu": "H100"}
    assert curve_of(LearnedSet(plain.name, record, plain.source)).name.endswith(", on H100")


def test_the_picture_has_what_has_a_curve(stored, tmp_path):
    path = tmp_path / "curves.png"
    draw_learning_curves([stored["mnist-convnet-ipc1-standard-ls"]], path)
    assert not path.exists()
    draw_learning_curves(stored.values(), path)
    with Image.open(path) as image:
        assert min(image.size) > 400
