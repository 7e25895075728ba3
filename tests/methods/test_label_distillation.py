"""LD: gradients by the labels, the ridge, and what a run leaves."""

import dataclasses
import json

import numpy as np
import pytest
from method_suite import problem

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods.label_distillation import LD, LabelDistillationConfig
from paper_repro.core.network.pytorch.device import one_thread
from paper_repro.core.network.pytorch.spec import Evaluation, NetworkSpec
from paper_repro.core.runs.cell import cell_of, distilling_cell
from paper_repro.core.runs.presets import CONVNET
from paper_repro.core.store import checkpoint

torch = pytest.importorskip("torch")

from paper_repro.core.methods.label_distillation import gradients, learning  # noqa: E402
from paper_repro.core.network.pytorch.networks import build  # noqa: E402
from paper_repro.core.network.pytorch.training import as_targets  # noqa: E402

MLP = NetworkSpec("MLP", width=16)
SMALL = LabelDistillationConfig(2, outer_steps=12, outer_batch=60, patience=3, learner=MLP)
K = 3


@pytest.fixture(autouse=True)
def alone():
    """A thread: what is computed here is small, and other tests run beside."""
    with one_thread():
        yield


@pytest.fixture
def case():
    """(network, base images, labels, natural images, classes), float64."""
    rng = np.random.default_rng(0)
    network = build(MLP, (4, 4, 1), K, seed=1).double()
    base, x = (torch.from_numpy(rng.standard_normal((n, 1, 4, 4))) for n in (5, 20))
    labels = torch.from_numpy(rng.dirichlet(np.ones(K), 5)).requires_grad_()
    return network, base, labels, x, torch.from_numpy(rng.integers(K, size=20))


def through(kind, case, labels):
    network, base, _, x, classes = case
    if kind == "inner step":
        return gradients.through_inner_step(network, base, labels, x, classes, 0.5)[0]
    last = torch.linspace(-1, 1, 17 * K, dtype=torch.float64).reshape(17, K)
    return gradients.through_ridge(
        network, base, labels, x, classes, last, torch.tensor(1.5), 0.3, 0.7
    )[0]


@pytest.mark.parametrize("kind", ["inner step", "ridge"])
def test_the_gradient_by_labels_is_that_of_finite_differences(kind, case):
    labels, h = case[2], 1e-5
    found = through(kind, case, labels)
    assert found.by_labels.abs().max() > 1e-4
    for place in np.ndindex(5, K):
        values = []
        for sign in (h, -h):
            moved = labels.detach().clone()
            moved[place] += sign
            values.append(through(kind, case, moved.requires_grad_()).loss)
        slope = float(found.by_labels[place])
        assert (values[0] - values[1]) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_ridge_is_that_of_the_normal_equations():
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((12, 30)), rng.standard_normal((12, 4))
    wanted = np.linalg.solve(a.T @ a + 0.3 * np.eye(30), a.T @ y)
    found = gradients.ridge_solution(torch.from_numpy(a), torch.from_numpy(y), 0.3)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11)


def test_features_that_are_not_finite_are_a_divergence():
    features = torch.full((3, 2), float("nan"), dtype=torch.float64)
    with pytest.raises(Diverged, match="features are not finite"):
        gradients.ridge_solution(features, torch.ones(3, 1, dtype=torch.float64), 0.1)


@pytest.mark.parametrize("ridge", [False, True])
def test_labels_are_learned_probabilities_of_natural_images(ridge, tmp_path):
    config = dataclasses.replace(SMALL, ridge=ridge, outer_steps=80, label_rate=0.02)
    losses = []
    found = LD().run(problem(), config, 0, tmp_path, lambda *a: losses.append(a[2]["loss"]))
    probabilities = found.labels + 1 / K
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert probabilities.min() >= -1e-7 and probabilities.max() <= 1 + 1e-7
    assert found.classes.tolist() == [0, 0, 1, 1, 2, 2]
    # The images have patterns by class, so that each should get its own label.
    assert (found.labels.argmax(1) == found.classes).mean() >= 5 / 6
    assert as_targets(found.labels).dtype == torch.float32
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_the_ridge_goes_on_after_an_interruption_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    config = dataclasses.replace(SMALL, ridge=True)
    whole = LD().run(problem(), config, 1, tmp_path / "whole")

    def stop(done, of, figures):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LD().run(problem(), config, 1, tmp_path / "cut", stop)
    again = LD().run(problem(), config, 1, tmp_path / "cut")
    assert again.labels.tobytes() == whole.labels.tobytes()
    assert again.images.tobytes() == whole.images.tobytes()


def test_the_network_is_drawn_anew_when_its_error_stops_falling():
    run = learning.LabelLearning(problem(), dataclasses.replace(SMALL, patience=1), seed=0)
    for _ in range(20):
        run.step()
    assert 0 < int(run.state()["number"]) <= 10


def test_cells_are_scored_by_networks_on_the_soft_labels():
    laptop = CONVNET["laptop"]
    for name, tag in (("LD", "ld"), ("LD (ridge)", "ld-ridge")):
        cell = distilling_cell(name, "mnist", 10, KernelSpec("ConvNet"), laptop)
        assert cell.scorer.evaluation == Evaluation(NetworkSpec("LeNet"), networks=5, batch=50)
        assert cell_of(json.loads(json.dumps(cell.recorded))) == cell
        assert cell.method_object.tag(cell.config) == tag and cell.learned_labels
    published = distilling_cell("LD", "cifar10", 10, KernelSpec("ConvNet"))
    assert published.row_fields["architecture"] == "AlexCifarNet"
    assert published.config.outer_steps is None


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(UserError, match="too small for the layers of LeNet"):
        config = dataclasses.replace(SMALL, learner=NetworkSpec("LeNet"))
        LD().run(problem(), config, 0, tmp_path / "small")
    with pytest.raises(Diverged, match="not finite in outer step 1"):
        LD().run(problem(), dataclasses.replace(SMALL, inner_rate=1e38), 0, tmp_path / "wild")
    for wrong in ({"outer_steps": 0}, {"base_batch": 0}, {"ridge_weight": 0.0}):
        with pytest.raises(UserError, match="must be"):
            LabelDistillationConfig(1, **wrong)


def test_a_class_without_an_image_is_refused(tmp_path):
    labels = np.where(problem().labels == 2, 0, problem().labels)
    with pytest.raises(UserError):
        LD().run(dataclasses.replace(problem(), labels=labels), SMALL, 0, tmp_path)


def test_a_time_is_kept_to():
    config = LD().within(problem(), dataclasses.replace(SMALL, outer_steps=None), seconds=1e-9)
    assert config.outer_steps == 1
