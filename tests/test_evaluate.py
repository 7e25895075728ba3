"""`paper_repro.evaluate` against a direct computation, its input forms, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest

from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import fitted, save
from paper_repro.evaluate import Protocol, evaluate

N_TEST = 200


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture(scope="module")
def support(mnist, tmp_path_factory):
    """Fifty natural images, preprocessed, and the settings that score them."""
    path = tmp_path_factory.mktemp("sets") / "natural.npz"
    images = fitted(mnist, "standard").apply(mnist.x_train[:50])
    labels = centred_one_hot(mnist.y_train[:50], 10).astype(np.float32)
    np.savez(path, images=images, labels=labels)
    return path, images, labels


def score(path, **changes):
    settings = {"dataset": "mnist", "preprocess": "standard", "architecture": "fc2"}
    return evaluate(path, Protocol(**{**settings, "n_test": N_TEST, **changes}))


def test_equals_neural_tangents_and_numpy(mnist, support):
    from paper_repro.core.architecture import fully_connected
    from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

    path, images, labels = support
    x_test = fitted(mnist, "standard").apply(mnist.x_test[:N_TEST])
    oracle = NeuralTangentsKernel(fully_connected(2), dtype="float64")
    k_ss = oracle.block(images, images)
    ridge = 1e-6 * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss))
    predicted = oracle.block(x_test, images) @ np.linalg.solve(k_ss + ridge, labels)
    y_test = np.eye(10)[mnist.y_test[:N_TEST]] - 0.1
    found = score(path, dtype="float64")
    assert found["accuracy"] == np.mean(predicted.argmax(1) == mnist.y_test[:N_TEST])
    assert found["mse"] == pytest.approx(0.5 * np.mean((predicted - y_test) ** 2), rel=1e-8)
    assert found["n_test"] == N_TEST and found["n_support"] == 50
    assert found["interval"][0] < found["accuracy"] < found["interval"][1]


def test_layouts_raw_images_and_a_saved_transform_score_the_same(mnist, support, tmp_path):
    path, images, labels = support
    expected = score(path)["mse"]
    forms = {
        "nchw": {"images": images.transpose(0, 3, 1, 2), "labels": labels},
        "no_channel": {"images": images[..., 0], "labels": labels},
        "class_numbers": {"images": images, "labels": mnist.y_train[:50]},
        "one_hot": {"images": images, "labels": np.eye(10)[mnist.y_train[:50]]},
    }
    for name, arrays in forms.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert score(tmp_path / f"{name}.npz")["mse"] == pytest.approx(expected, rel=1e-6), name
    np.savez(tmp_path / "raw.npz", images=mnist.x_train[:50], labels=labels)
    assert score(tmp_path / "raw.npz", raw=True)["mse"] == pytest.approx(expected, rel=1e-6)
    save(fitted(mnist, "standard"), tmp_path / "standard.safetensors")
    by_file = score(path, preprocess="none", transform=tmp_path / "standard.safetensors")
    assert by_file["mse"] == pytest.approx(expected, rel=1e-6)


def test_raw_images_are_not_taken_for_preprocessed_ones(mnist, tmp_path):
    path = tmp_path / "raw.npz"
    np.savez(path, images=mnist.x_train[:50], labels=mnist.y_train[:50].astype(np.int64))
    with pytest.raises(UserError, match=r"raw\.npz: the images are uint8, so raw pixels: .*--raw"):
        score(path)
    assert score(path, raw=True)["accuracy"] > 0.3


def test_command_prints_json(support):
    command = [sys.executable, "-m", "paper_repro.evaluate", str(support[0]), "--json"]
    options = ["--dataset", "mnist", "--preprocess", "standard", "--architecture", "fc2"]
    done = subprocess.run(
        [*command, *options, "--n-test", str(N_TEST)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["accuracy"] == score(support[0])["accuracy"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros(3)}, "has no images"),
        ({"images": np.zeros((2, 9, 9, 1)), "labels": np.zeros((2, 10))}, "do not fit"),
        ({"images": np.zeros((2, 28, 28, 1)), "labels": np.zeros((2, 9))}, "labels (2, 9)"),
        ({"images": np.full((2, 28, 28, 1), np.nan), "labels": np.zeros((2, 10))}, "NaN"),
        ({"images": np.zeros((1, 28, 28, 1)), "labels": np.array([[None] * 10])}, "never loaded"),
        ({"images": np.zeros((1, 28, 28, 1)), "labels": np.array([11])}, "0..9"),
    ],
)
def test_refuses_what_is_not_a_support_set(arrays, says, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=says.replace("(", r"\(").replace(")", r"\)")):
        score(path)


@pytest.mark.parametrize(
    "change",
    [{"architecture": "lenet"}, {"preprocess": "pca"}, {"kernel": "GP"}, {"n_test": 0}],
)
def test_refuses_unknown_settings(support, change):
    with pytest.raises(UserError):
        score(support[0], **change)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz"):
        score(tmp_path / "nothing.npz")
