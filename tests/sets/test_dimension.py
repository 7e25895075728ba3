"""TwoNN against manifolds of known dimension, its invariances, and the figure's command."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import command
from PIL import Image

from paper_repro import figure_dimension
from paper_repro.core.errors import UserError
from paper_repro.core.sets.catalogue import read_set
from paper_repro.core.sets.dimension import log_ratios, two_nn


def on_a_manifold(n, d, ambient=64, seed=0):
    """Points of a d-dimensional cube, turned into `ambient` dimensions."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((ambient, d)))
    return rng.random((n, d)) @ axes.T


@pytest.mark.parametrize(("d", "tolerance"), [(1, 0.05), (2, 0.1), (5, 0.5)])
def test_a_cube_has_its_dimension(d, tolerance):
    # The corners of a cube bias d = 5 downwards by some percent, and the sample adds 1/sqrt(n).
    found = two_nn(on_a_manifold(3_000, d), np.random.default_rng(0))
    assert found.value == pytest.approx(d, abs=tolerance)
    assert found.low < found.value < found.high and found.n == 3_000


def test_ten_points_are_estimated_without_bias_and_covered_by_their_interval():
    rng = np.random.default_rng(1)
    found = [two_nn(rng.random((10, 2)), rng, 400) for _ in range(400)]
    assert np.mean([f.value for f in found]) == pytest.approx(2, abs=0.35)
    covered = np.mean([f.low <= 2 <= f.high for f in found])
    assert covered > 0.75  # of a percentile bootstrap of ten ratios that share distances


def test_the_ratios_are_those_of_a_loop_and_know_neither_scale_nor_rotation_nor_shape():
    x = on_a_manifold(30, 4, ambient=12)
    expected = []
    for i, a in enumerate(x):
        r1, r2 = sorted(np.linalg.norm(a - b) for j, b in enumerate(x) if j != i)[:2]
        expected.append(np.log(r2 / r1))
    assert log_ratios(x) == pytest.approx(np.array(expected), rel=1e-10)
    turned, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))
    assert log_ratios(7 * x @ turned + 5) == pytest.approx(log_ratios(x), rel=1e-6)
    assert (log_ratios(x.reshape(30, 2, 2, 3)) == log_ratios(x)).all()
    assert two_nn(x, np.random.default_rng(0)) == two_nn(x, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.eye(2), "at least 3 images, not 2"),
        (np.array([[0.0], [1.0], [np.nan]]), "not finite"),
        (np.array([[0.0], [1.0], [1.0], [5.0]]), "two images are equal"),
        (np.eye(3), "at one distance"),
    ],
)
def test_sets_without_a_dimension(images, says):
    with pytest.raises(UserError, match=says):
        two_nn(images, np.random.default_rng(0))


def test_the_figure_of_the_stored_sets(tmp_path):
    done = command(figure_dimension.main, "--out", tmp_path, "--draws", 20)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "figure_dimension.json").read_text())
    by_set = {}
    for point in result["points"]:
        assert 0 < point["low"] < point["high"] < 1_000
        by_set.setdefault((point["set"], point["data"]), []).append(point)
    mnist = by_set["mnist-convnet-ipc1-standard-learned-noaug", "MNIST"]
    assert [point["step"] for point in mnist] == sorted(point["step"] for point in mnist)
    learned = read_set(Path("checkpoints"), "mnist-convnet-ipc1-standard-learned-noaug")
    for point in (mnist[0], mnist[-1]):
        ratios = log_ratios(learned.at_step(point["step"]).images)
        assert point["dimension"] == pytest.approx(9 / ratios.sum(), rel=1e-12)
    assert {point["line"] for point in mnist} == {"ConvNet NTK: KIP (l)"}
    (natural,) = by_set[None, "MNIST"]
    assert natural["low"] < natural["dimension"] < natural["high"] and natural["images"] == 10
    with Image.open(tmp_path / "pictures" / "figure_dimension.png") as image:
        assert min(image.size) >= 500


def test_a_figure_without_a_set_or_with_one_draw(tmp_path):
    done = command(figure_dimension.main, "--checkpoints", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2 and "not a checkpoints directory" in done.stderr
    done = command(figure_dimension.main, "--draws", 1, "--out", tmp_path / "out")
    assert done.returncode == 2 and "at least 2, not 1" in done.stderr
    assert not (tmp_path / "out").exists()
