"""Networks in PyTorch: shapes, random maps, the published evaluation, and resumption."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from small_problem import images

torch = pytest.importorskip("torch")

from paper_repro.core.errors import Diverged, UserError  # noqa: E402
from paper_repro.core.labels import centred_one_hot  # noqa: E402
from paper_repro.core.network.pytorch import changes, training  # noqa: E402
from paper_repro.core.network.pytorch.networks import build  # noqa: E402
from paper_repro.core.network.pytorch.spec import (  # noqa: E402
    NETWORKS,
    Evaluation,
    NetworkSpec,
    UnrolledEvaluation,
    published_evaluation,
)
from paper_repro.core.preprocess import Standard  # noqa: E402
from paper_repro.core.store import checkpoint  # noqa: E402

COUNTS = {  # parameters for 32x32x3 and 10 classes, by hand from the layers
    "ConvNet": 3 * 128 * 9 + 128 + 2 * (128 * 128 * 9 + 128) + 3 * 256 + 2_048 * 10 + 10,
    "MLP": 3_072 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10,
    "LeNet": 6 * 75 + 6 + 16 * 150 + 16 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10,
    "AlexCifarNet": 64 * 75 + 64 + 64 * 1_600 + 64 + 4_096 * 384 + 384 + 384 * 192 + 192 + 1_930,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_both_kinds_of_images(name):
    for shape in ((28, 28, 1), (32, 32, 3)):
        network = build(NetworkSpec(name), shape, 10, seed=0)
        out = network(torch.zeros(2, shape[2], *shape[:2]))
        assert out.shape == (2, 10) and torch.isfinite(out).all()
    if name in COUNTS:
        assert sum(p.numel() for p in network.parameters()) == COUNTS[name]
    features = network.features(torch.zeros(1, 3, 32, 32))
    assert features.ndim == 2


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "group", "none"])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_options_of_the_convnet(norm, pooling):
    spec = NetworkSpec(width=8, depth=2, norm=norm, pooling=pooling)
    network = build(spec, (8, 8, 3), 3, seed=0)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 3)
    assert NetworkSpec(**spec.recorded) == spec


def test_instance_norm_makes_every_channel_of_every_image_standard():
    network = build(NetworkSpec(width=8, depth=1), (8, 8, 3), 3, seed=0)
    normed = network.features[:2](torch.randn(4, 3, 8, 8))
    assert normed.mean((2, 3)).abs().max() < 1e-5
    assert (normed.var((2, 3), unbiased=False) - 1).abs().max() < 1e-2


def test_a_seed_decides_the_parameters_and_the_global_generator_stays():
    before = torch.random.get_rng_state()
    a, b, c = (build(NetworkSpec(width=4), (8, 8, 3), 3, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    for one, same, other in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(one, same)
        assert one.dim() == 1 or not torch.equal(one, other)


def test_images_too_small_are_refused():
    for name in ("AlexNet", "VGG11", "LeNet"):
        with pytest.raises(
            UserError, match=f"images of 4x4 are too small for the layers of {name}"
        ):
            build(NetworkSpec(name), (4, 4, 3), 3, seed=0)


@pytest.mark.parametrize("kind", changes.KINDS)
def test_maps_have_the_derivative_of_finite_differences(kind):
    rng = np.random.default_rng(1)
    change = changes.DrawnMap(kind, rng.random((1, 3)))
    x = torch.from_numpy(rng.standard_normal((2, 3, 8, 8))).requires_grad_()
    direction = torch.from_numpy(rng.standard_normal(x.shape))
    weights = torch.from_numpy(rng.standard_normal(x.shape))
    (slope,) = torch.autograd.grad((change(x) * weights).sum(), x)
    still = x.detach()
    plus, minus = ((change(still + s * direction) * weights).sum() for s in (1e-4, -1e-4))
    found = float((slope * direction).sum())
    assert found == pytest.approx(float(plus - minus) / 2e-4, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("kind", changes.KINDS)
def test_one_row_of_parameters_is_the_same_map_for_every_image(kind):
    u = np.random.default_rng(2).random((1, 3))
    x = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    together = changes.DrawnMap(kind, u)(x)
    alone = torch.cat([changes.DrawnMap(kind, u)(image[None]) for image in x])
    each = changes.DrawnMap(kind, np.repeat(u, 3, 0))(x)
    assert torch.allclose(together, alone, atol=1e-6) and torch.equal(together, each)


def test_maps_by_hand():
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.equal(changes.DrawnMap("flip", np.array([[0.1, 0, 0]]))(x), x.flip(3))
    assert torch.equal(changes.DrawnMap("flip", np.array([[0.9, 0, 0]]))(x), x)
    # Of shifts by one pixel at most, 0 and 0.999 are the ends.
    down = changes.DrawnMap("crop", np.array([[0.999, 0.5, 0]]))(x)
    assert torch.equal(down[0, 0, :7], x[0, 0, 1:]) and not down[0, 0, 7].any()
    right = changes.DrawnMap("crop", np.array([[0.5, 0.0, 0]]))(x)
    assert torch.equal(right[0, 0, :, 1:], x[0, 0, :, :7]) and not right[0, 0, :, 0].any()
    hole = changes.DrawnMap("cutout", np.array([[0.5, 0.5, 0]]))(torch.ones(1, 1, 8, 8))
    assert float(hole.sum()) == 64 - 16 and not hole[0, 0, 2:6, 2:6].any()
    same = changes.DrawnMap("rotate", np.array([[0.5, 0, 0]]))(x)
    assert torch.allclose(same, x, atol=1e-4)
    brighter = changes.DrawnMap("color", np.array([[1.0, 0.5, 0.5]]))(x)
    assert torch.allclose(brighter, x + 0.5, atol=1e-5)
    # Contrast from 0.5 to 1.5 around the image's mean.
    flat = changes.DrawnMap("color", np.array([[0.5, 0.5, 0.0]]))(x)
    assert torch.allclose(flat, 31.5 + (x - 31.5) / 2, atol=1e-4)


def test_every_kind_is_drawn_and_flips_only_where_allowed():
    rng = np.random.default_rng(0)
    assert {changes.draw(rng).kind for _ in range(200)} == set(changes.KINDS)
    assert "flip" not in {changes.draw(rng, flips=False).kind for _ in range(200)}


def test_maps_of_digits_keep_shape_and_repeat_the_border():
    rng = np.random.default_rng(0)
    x = torch.full((40, 1, 28, 28), -0.4)
    x[:, :, 10:18, 10:18] = 2.0
    out = changes.draw_dc(rng, 40)(x)
    assert out.shape == x.shape
    assert torch.allclose(out[:, :, 0], torch.full((40, 1, 28), -0.4), atol=1e-6)
    assert not torch.equal(out, x)
    # One image alone: of each kind there is one or none.
    kinds = [changes.draw_dc(np.random.default_rng(seed), 1)(x[:1]) for seed in range(12)]
    assert all(one.shape == (1, 1, 28, 28) for one in kinds)


def a_set():
    x, y = images(30, seed=1)
    test, labels = images(90, seed=3)
    transform = Standard.fit(x)
    return transform.apply(x), centred_one_hot(y, 3), transform.apply(test), labels


QUICK = Evaluation(NetworkSpec(width=8, depth=2), networks=2, epochs=60, learning_rate=0.05)


def run(evaluation, directory, seed=0, report=lambda *_: None):
    return training.evaluate(evaluation, *a_set(), seed, directory, report)


def test_networks_learn_and_do_not_depend_on_how_many_there_are(tmp_path):
    two = run(QUICK, tmp_path / "two")
    one = run(dataclasses.replace(QUICK, networks=1), tmp_path / "one")
    assert two.accuracies[0] == one.accuracies[0] and len(two.accuracies) == 2
    assert min(two.accuracies) > 0.5  # chance is a third
    assert run(QUICK, tmp_path / "other", seed=1).accuracies != two.accuracies


@pytest.mark.parametrize("maps", ["none", "dc", "dsa"])
def test_an_interrupted_evaluation_ends_in_the_same_bits(maps, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    settings = dataclasses.replace(QUICK, changes=maps, epochs=8)
    whole = run(settings, tmp_path / "whole")

    def stop(done, of, figures):
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "cut", report=stop)
    seen = []
    again = run(settings, tmp_path / "cut", report=lambda *report: seen.append(report[0]))
    assert again.accuracies == whole.accuracies and seen[0] == 11
    with pytest.raises(UserError, match="holds another run"):
        run(settings, tmp_path / "cut", seed=5)


def test_the_rate_falls_to_a_tenth_after_half_of_the_epochs():
    x, y, *_ = a_set()
    settings = dataclasses.replace(QUICK, epochs=10)
    one = training.Training(settings, training.as_inputs(x), training.as_targets(y), 3, seed=0)
    rates = []
    for _ in range(10):
        one.run_epoch()
        rates.append(one._optimizer.param_groups[0]["lr"])
    assert rates == [0.05] * 6 + [pytest.approx(0.005)] * 4


def test_labels_as_cross_entropy_takes_them():
    hard = centred_one_hot(np.array([2, 0]), 3)
    assert training.as_targets(hard).tolist() == [2, 0]
    soft = np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0]]) - 1 / 3
    found = training.as_targets(soft).numpy()
    assert found.dtype == np.float32 and np.allclose(found, soft + 1 / 3)
    assert training.as_targets(np.array([[79.0, -3.0, 1.0]])).tolist() == [0]


def test_what_is_not_finite_is_said(tmp_path):
    with pytest.raises(Diverged, match="the loss of the network is not finite in epoch"):
        run(dataclasses.replace(QUICK, learning_rate=1e20), tmp_path)
    x, y, test, labels = a_set()
    x[3] = np.nan
    with pytest.raises(UserError, match="images or labels that are not finite"):
        training.evaluate(QUICK, x, y, test, labels, 0, tmp_path / "nan", lambda *_: None)


@pytest.mark.parametrize(
    ("evaluation", "reduced"),
    [
        (Evaluation(), False),
        (Evaluation(networks=2), True),
        (Evaluation(epochs=299), True),
        (Evaluation(epochs=300, changes="dsa"), True),
        (published_evaluation("mnist", False, NetworkSpec()), False),
        (UnrolledEvaluation(networks=200), False),
        (UnrolledEvaluation(networks=50), True),
    ],
)
def test_fewer_networks_or_epochs_than_published_are_a_reduced_budget(evaluation, reduced):
    assert evaluation.is_reduced == reduced


def test_settings_come_back_from_a_row():
    for evaluation in (Evaluation(), published_evaluation("mnist", True, NetworkSpec("LeNet"))):
        assert Evaluation.from_recorded(evaluation.recorded) == evaluation
    with pytest.raises(UserError, match="networks must be at least 1, not 0"):
        Evaluation(networks=0)


def test_without_pytorch_one_line_says_what_to_install(tmp_path):
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'torch' else find(n, *a)\n"
        "from paper_repro.core import cli\n"
        "from paper_repro import table1_comparison\n"
        "cli.run(table1_comparison.main)\n"
    )
    command = ["--preset", "smoke", "--datasets", "mnist", "--ipc", "1", "--methods", "DC"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--out", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 2 and "run `make torch`" in done.stderr
    assert "Traceback" not in done.stderr
