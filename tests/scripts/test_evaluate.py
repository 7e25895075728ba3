"""`paper_repro.evaluate` against a direct computation, its input forms, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_table

from paper_repro.core import cli
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import ZCA, fitted, load, save
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.evaluate import Protocol, evaluate, main

ROOT = Path(__file__).resolve().parents[2]
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
    from paper_repro.core.kernels.architecture import fully_connected
    from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

    path, images, labels = support
    x_test = fitted(mnist, "standard").apply(mnist.x_test[:N_TEST])
    oracle = NeuralTangentsKernel(fully_connected(2), dtype="float64")
    k_ss = oracle(images)
    ridge = 1e-6 * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss))
    predicted = oracle(x_test, images) @ np.linalg.solve(k_ss + ridge, labels)
    y_test = np.eye(10)[mnist.y_test[:N_TEST]] - 0.1
    found = score(path, execution=Execution(dtype="float64"))
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
    by_file = score(path, preprocess=None, transform=tmp_path / "standard.safetensors")
    assert by_file["mse"] == pytest.approx(expected, rel=1e-6)


def test_raw_images_are_not_taken_for_preprocessed_ones(mnist, tmp_path):
    path = tmp_path / "raw.npz"
    np.savez(path, images=mnist.x_train[:50], labels=mnist.y_train[:50].astype(np.int64))
    with pytest.raises(
        UserError, match=r"raw\.npz: the images are uint8, so they look like raw pixels: .*--raw"
    ):
        score(path)
    assert score(path, raw=True)["accuracy"] > 0.3


def test_float_pixels_are_not_taken_for_preprocessed_ones_nor_fractions_for_pixels(mnist, tmp_path):
    for name, scale in (("bytes", 1), ("fractions", 255)):
        images = (mnist.x_train[:50] / scale).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=mnist.y_train[:50])
        with pytest.raises(
            UserError, match=r"no negative value, so they look like raw pixels: .*--raw"
        ):
            score(tmp_path / f"{name}.npz")
    for change in ({"raw": True}, {"preprocess": "none"}):
        assert score(tmp_path / "bytes.npz", **change)["accuracy"] > 0.3
        with pytest.raises(
            UserError, match=r"fractions\.npz: the images have a spread .*: multiply them by 255"
        ):
            score(tmp_path / "fractions.npz", **change)


def test_sets_that_were_made_are_never_taken_for_pixels():
    found = 0
    for learned in read_catalogue(ROOT / "checkpoints"):
        for kept in (learned, *map(learned.at_step, learned.steps)):
            n = len(kept.images)
            for part in (slice(n), *(slice(i, i + 1) for i in range(n))):
                given = LearnedSet.of(kept.images[part], kept.labels[part])
                assert given.kernel_inputs is given.images
                found += 1
    assert found > 500
    nothing = np.zeros((2, 28, 28, 1))  # what becomes of constant images
    assert LearnedSet.of(nothing, np.zeros((2, 10))).kernel_inputs is nothing


def command(path, *options, dataset="mnist"):
    """What the command prints, run here."""
    cli.run(main, list(map(str, (path, "--dataset", dataset, *options))))


def test_command_prints_json(mnist, support):
    options = ["--dataset", "mnist", "--architecture", "fc2", "--n-test", str(N_TEST), "--json"]
    words = [sys.executable, "-m", "paper_repro.evaluate", str(support[0]), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["accuracy"] == score(support[0])["accuracy"]
    assert (printed["preprocess"], printed["raw"]) == ("standard", False)
    assert printed["transform_sha256"] == digest(fitted(mnist, "standard"))


def test_command_prints_the_binomial_interval(support, capsys):
    command(support[0], "--architecture", "fc2", "--n-test", N_TEST)
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == "natural.npz: 50 images, FC2 NTK, standard"
    found = score(support[0])
    low, high = (100 * end for end in found["interval"])
    assert second == (
        f"test accuracy {100 * found['accuracy']:.2f} %  "
        f"(95 % binomial {low:.2f} to {high:.2f}, 200 images)"
    )
    assert third == f"test MSE      {found['mse']:.5f}  (0.5 x mean squared error)"
    assert last.endswith(" s")


# Color images, with the kernel of the ConvNet.


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(data directory, its data set, whitened supports): images of 8x8x3."""
    place = small_table.write_data(tmp_path_factory.mktemp("color") / "data")
    data = load_dataset("small", place)
    path = place.parent / "white.npz"
    np.savez(path, images=fitted(data, "zca").apply(data.x_train[:9]), labels=data.y_train[:9])
    return place, data, path


def score_small(place, path, **changes):
    return evaluate(path, Protocol(dataset="small", data_dir=place, **changes))


def test_color_images_are_whitened_unless_told(small, tmp_path):
    place, data, path = small
    found = score_small(place, path)
    assert (found["architecture"], found["preprocess"], found["n_test"]) == ("ConvNet", "zca", 90)
    assert found["transform_sha256"] == digest(fitted(data, "zca"))
    for options in ({"preprocess": "zca"}, {"raw": True}):
        given = path
        if "raw" in options:
            given = tmp_path / "raw.npz"
            np.savez(given, images=data.x_train[:9], labels=data.y_train[:9])
        again = score_small(place, given, **options)
        assert again["mse"] == pytest.approx(found["mse"], rel=1e-6)
        assert again["raw"] == options.get("raw", False)
    none = score_small(place, given, preprocess="none")
    assert none["transform_sha256"] is None and none["mse"] != pytest.approx(found["mse"], rel=1e-3)


def test_channels_may_come_first_in_color_too(small, tmp_path):
    place, _, path = small
    kept = np.load(path)
    np.savez(
        tmp_path / "nchw.npz", images=kept["images"].transpose(0, 3, 1, 2), labels=kept["labels"]
    )
    assert score_small(place, tmp_path / "nchw.npz")["mse"] == score_small(place, path)["mse"]


def test_another_transform_gives_another_score(small, tmp_path, capsys):
    place, data, path = small
    other = tmp_path / "strong.safetensors"
    save(ZCA.fit(data.x_train[:120], 10.0), other)
    command(path, "--transform", other, "--data-dir", place, "--json", dataset="small")
    printed, usual = json.loads(capsys.readouterr().out), score_small(place, path)
    assert printed["preprocess"] == str(other)
    assert printed["transform_sha256"] == digest(load(other)) != usual["transform_sha256"]
    assert printed["mse"] != pytest.approx(usual["mse"], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--preprocess", "zca", "--transform", "t.safetensors"], "give one of them"),
        (["--preprocess", "none", "--raw"], "leave out --raw"),
    ],
)
def test_options_that_contradict_each_other_are_refused(support, options, says, capsys):
    with pytest.raises(SystemExit) as stop:
        command(support[0], *options)
    printed = capsys.readouterr()
    assert (stop.value.code, printed.out) == (2, "")
    assert says in printed.err and printed.err.count("\n") == 1


def test_progress_is_shown_once_it_takes_long(small, capsys, monkeypatch):
    place, _, path = small
    score_small(place, path)
    natural = capsys.readouterr().err.splitlines()  # nine of them are no good support
    assert [line.split(",")[0] for line in natural] == ["note: the MSE"]
    monkeypatch.setattr("paper_repro.evaluate.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("paper_repro.core.runs.progress.LOG_SECONDS", 0.0)
    monkeypatch.setattr("paper_repro.core.kernels.kernel.Kernel.block_side", 30)
    score_small(place, path)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "white.npz: kernel entries: 0/891",
        *(
            f"white.npz: kernel entries: {done}/891, up to about 0.0 min left"
            for done in (351, 621, 891)
        ),
        *natural,
    ]


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
    [
        {"architecture": "lenet"},
        {"preprocess": "pca"},
        {"kernel": "GP"},
        {"n_test": 0},
        {"diag_reg": float("nan")},
        {"diag_reg": -1e-6},
    ],
)
def test_refuses_unknown_settings(support, change):
    with pytest.raises(UserError):
        score(support[0], **change)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz"):
        score(tmp_path / "nothing.npz")


def test_a_set_with_its_own_transform_scores_as_numpy_computes(small, tmp_path, capsys):
    """Another project's ZCA: rounded constants, centred, an absolute ridge, no norm per image."""
    place, data, _ = small
    mean, std, ridge = np.array([0.5, 0.49, 0.45]), np.array([0.2, 0.21, 0.22]), 0.25
    recipe = {
        "name": "theirs",
        "source": "a test",
        "pixel_range": 1,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "whitening": {"centred": True, "regularisation": ridge, "relative": False},
    }
    (tmp_path / "theirs.json").write_text(json.dumps(recipe))

    # Twelve lines of NumPy, with an RBF kernel.
    x_train, x_test = (
        ((x / 255 - mean) / std).reshape(len(x), -1) for x in (data.x_train, data.x_test)
    )
    s, u = np.linalg.eigh(np.cov(x_train.T, ddof=0))
    white = u / np.sqrt(s + ridge) @ u.T
    x_s, x_t = ((x - x_train.mean(0)) @ white for x in (x_train[:30], x_test))
    y_s, y_t = (np.eye(3)[y] - 1 / 3 for y in (data.y_train[:30], data.y_test))
    kernel = [np.exp(-0.002 * ((a[:, None] - x_s) ** 2).sum(-1)) for a in (x_s, x_t)]
    alpha = np.linalg.solve(kernel[0] + 1e-6 * np.eye(30), y_s)
    accuracy = np.mean((kernel[1] @ alpha).argmax(1) == data.y_test)
    mse = 0.5 * np.mean((kernel[1] @ alpha - y_t) ** 2)

    np.savez(tmp_path / "set.npz", images=x_s.reshape(-1, 8, 8, 3), labels=y_s)
    np.savez(tmp_path / "raw.npz", images=data.x_train[:30], labels=data.y_train[:30])
    found = {}
    for name, options in (("set", []), ("raw", ["--raw"])):
        words = ["--transform", tmp_path / "theirs.json", "--data-dir", place, "--json", *options]
        words += ["--architecture", "RBF", "--dtype", "float64"]
        command(tmp_path / f"{name}.npz", *words, "--scale", 0.002 * 192, dataset="small")
        found[name] = json.loads(capsys.readouterr().out)
        assert found[name]["accuracy"] == accuracy
        assert found[name]["mse"] == pytest.approx(mse, rel=1e-10)
    plain = score_small(place, tmp_path / "set.npz", architecture="RBF", scale=0.002 * 192)
    assert plain["accuracy"] != accuracy and plain["mse"] != pytest.approx(mse, rel=1e-3)


def test_worse_than_nothing_is_said_with_the_usual_causes(small, tmp_path, capsys):
    place, data, path = small
    images = np.load(path)["images"]
    np.savez(tmp_path / "wrong.npz", images=images, labels=30.0 * np.eye(3)[data.y_train[:9]])
    found = score_small(place, tmp_path / "wrong.npz")
    said = capsys.readouterr().err.splitlines()
    assert found["mse"] > found["mse_of_zero"] == pytest.approx(0.5 * 2 / 9)
    assert "sum to 30 at least and 30 at most, not to 0 or 1" in said[0]
    assert "is worse than that of predicting 0 everywhere (0.1111)" in said[1]
