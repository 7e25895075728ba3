"""DD and SLDD: gradients through the unrolled steps, what a run leaves, and its own score."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from method_suite import problem

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods import find
from paper_repro.core.methods.dataset_distillation import DD, DistillationConfig
from paper_repro.core.network.pytorch.device import one_thread
from paper_repro.core.network.pytorch.spec import (
    NetworkSpec,
    UnrolledEvaluation,
    network_of_dd,
)
from paper_repro.core.runs.cell import cell_of, distilling_cell
from paper_repro.core.runs.presets import CONVNET
from paper_repro.core.runs.scorers import Scoring
from paper_repro.core.runs.unrolled_scorer import UnrolledNetworks
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store import checkpoint

torch = pytest.importorskip("torch")

from paper_repro.core.network.pytorch import unrolled  # noqa: E402
from paper_repro.core.network.pytorch.adam import NamedAdam  # noqa: E402
from paper_repro.core.network.pytorch.networks import build, parameters_of  # noqa: E402
from paper_repro.core.network.pytorch.unrolled import Steps, descend, outer_gradient  # noqa: E402

MLP = NetworkSpec("MLP", width=16, initial="xavier")
SMOOTH = NetworkSpec("ConvNet", width=3, depth=1, activation="sigmoid", norm="none")
SMALL = DistillationConfig(2, outer_steps=6, outer_batch=60, learner=MLP)
SHAPE, K = (6, 6, 1), 3


@pytest.fixture(autouse=True)
def alone():
    """A thread: what is computed here is small, and other tests run beside."""
    with one_thread():
        yield


@pytest.fixture
def case():
    """(smooth network, its parameters, steps, natural images, their classes), all float64."""
    rng = np.random.default_rng(0)
    network = build(SMOOTH, SHAPE, K, seed=1).double()
    images, x = (torch.from_numpy(rng.standard_normal((n, 1, 6, 6))) for n in (2 * K, 20))
    targets = torch.from_numpy(rng.dirichlet(np.ones(K), 2 * K))
    rates = torch.from_numpy(rng.uniform(0.5, 1.5, (2, 2)))
    leaves = [part.requires_grad_() for part in (images, targets, rates)]
    classes = torch.from_numpy(rng.integers(K, size=20))
    return network, parameters_of(network), Steps(*leaves), x, classes


def test_the_outer_gradient_is_that_of_finite_differences(case):
    network, start, steps, x, classes = case
    leaves = [steps.images, steps.targets, steps.rates]
    loss, slopes = outer_gradient(network, start, steps, x, classes, leaves)
    rng, h = np.random.default_rng(2), 1e-5
    for place, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        for _ in range(3):
            direction = torch.from_numpy(rng.standard_normal(leaf.shape))
            values = []
            for sign in (h, -h):
                moved = [part.detach() for part in leaves]
                moved[place] = (moved[place] + sign * direction).requires_grad_()
                values.append(
                    outer_gradient(network, start, Steps(*moved), x, classes, [moved[place]])[0]
                )
            assert (values[0] - values[1]) / (2 * h) == pytest.approx(
                float((slope * direction).sum()), rel=1e-5, abs=1e-9
            )
    assert np.isfinite(loss)


def test_one_step_passes_gradcheck(case):
    network, start, steps, _, _ = case
    n = steps.rates.shape[1]

    def step(images, targets, rate):
        made = Steps(images, targets, rate[None, None])
        return tuple(descend(network, start, made, create_graph=True).values())

    inputs = [part.detach()[::n].requires_grad_() for part in (steps.images, steps.targets)]
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(step, (*inputs, rate))


def test_descending_is_plain_sgd(case):
    network, start, steps, _, _ = case
    found = descend(network, start, steps)
    network.load_state_dict(start)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for epoch in range(2):
        for step in range(2):
            optimizer.param_groups[0]["lr"] = float(steps.rates[epoch, step].detach())
            rows = torch.arange(step, 2 * K, 2)
            optimizer.zero_grad()
            log = torch.log_softmax(network(steps.images.detach()[rows]), 1)
            (-(steps.targets.detach()[rows] * log).sum(1).mean()).backward()
            optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_xavier_initialisation_has_its_variance_and_no_bias():
    network = build(network_of_dd(1, "xavier"), (28, 28, 1), 10, seed=0)
    layer = network.readout[0]
    assert float(layer.bias.detach().abs().max()) == 0
    wanted = np.sqrt(2 / (layer.in_features + layer.out_features))
    assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.02)
    assert str(network_of_dd(3, "xavier")) == "AlexCifarNet (xavier initialisation)"
    with pytest.raises(UserError, match="unknown initial 'zeros'"):
        NetworkSpec(initial="zeros")


def test_adam_goes_on_from_its_state_to_the_same_bits():
    slopes = [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.1]), torch.tensor([-3.0, 4.0])]
    whole = NamedAdam("a", {"x": torch.zeros(2, requires_grad=True)}, 0.1, (0.5, 0.999))
    for slope in slopes:
        whole.step([slope])
    first = NamedAdam("a", {"x": torch.zeros(2, requires_grad=True)}, 0.1, (0.5, 0.999))
    first.step(slopes[:1])
    second = NamedAdam("a", {"x": torch.ones(2, requires_grad=True)}, 0.1, (0.5, 0.999))
    second.restore({**first.state(), "other": np.zeros(1)})
    for slope in slopes[1:]:
        second.step([slope])
    assert (
        second.tensors["x"].detach().numpy().tobytes()
        == whole.tensors["x"].detach().numpy().tobytes()
    )


def test_the_published_settings():
    config = DD().config("DD", 10)
    assert (config.rate_for(1), config.rate_for(3)) == (0.02, 0.001)
    assert config.network_for(1) == NetworkSpec("LeNet", initial="xavier")
    assert config.network_for(3).name == "AlexCifarNet"
    assert config.steps_for(50_000) == 400 * 49
    assert [config.rate_at(49 * epoch, 50_000) for epoch in (0, 39, 40, 81)] == [
        *(0.01, 0.01, 0.005, 0.0025)
    ]
    assert DD().published_budget(60_000).startswith("400 epochs (23,600 outer steps)")
    assert DD().config("SLDD", 10).learn_labels
    for wrong in ({"outer_steps": 0}, {"step_epochs": 0}, {"first_rate": -1.0}):
        with pytest.raises(UserError, match="must be"):
            DistillationConfig(1, **wrong)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """(directory, set, losses) of a run that is long enough to learn something."""
    directory, losses = tmp_path_factory.mktemp("dd"), []
    # Larger rates than the published ones, with which so few steps do next to nothing.
    config = dataclasses.replace(
        SMALL, outer_steps=80, learning_rate=0.05, first_rate=0.1, learn_labels=True
    )
    found = DD().run(problem(), config, 0, directory, lambda *a: losses.append(a[2]["loss"]))
    return directory, found, losses


def test_learning_lowers_the_loss_and_moves_rates_and_labels(learned):
    directory, found, losses = learned
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    rates = np.array(found.record["extra"]["rates"])
    assert rates.shape == (3, 2) and (rates > 0).all() and np.abs(rates - 0.1).max() > 0.01
    kept = checkpoint.load(DD().final(directory, 80)).tensors
    np.testing.assert_array_equal(kept["rates"], rates.astype(np.float32))
    assert not found.has_fixed_labels
    assert found.record["budget"] == {"outer_steps": 80, "outer_batch": 60, "reduced": True}


def test_sldd_goes_on_after_an_interruption_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    config = dataclasses.replace(SMALL, learn_labels=True)
    whole = DD().run(problem(), config, 1, tmp_path / "whole")

    def stop(done, of, figures):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DD().run(problem(), config, 1, tmp_path / "cut", stop)
    again = DD().run(problem(), config, 1, tmp_path / "cut")
    for name in ("images", "labels"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()
    assert again.record["extra"] == whole.record["extra"]


@dataclasses.dataclass
class Data:
    """The test images of the small problem, as a scorer is given them."""

    dataset: object
    test_images: np.ndarray


def scoring(directory):
    x, y = problem().x_target[:90], problem().labels[:90]
    data = Data(type("Set", (), {"y_test": y}), problem().transform.apply(x))
    return Scoring(KernelSpec("FC1"), 0.0, data, 0, directory, lambda *report: None)


def test_its_own_score_trains_by_the_learned_steps(learned, tmp_path):
    _, found, _ = learned
    scorer = UnrolledNetworks(UnrolledEvaluation(MLP, 4))
    fields = scorer.score(found, scoring(tmp_path))
    assert len(fields["network_accuracies"]) == 4 and fields["budget"]["networks"] == 4
    assert fields["test_accuracy"] == np.mean(fields["network_accuracies"]) > 0.6
    assert fields["rates"] == found.record["extra"]["rates"]
    record = {**found.record, "extra": {"rates": np.full((3, 2), 1e-6).tolist()}}
    untrained = LearnedSet.of(found.images, found.labels, record)
    slow = scorer.score(untrained, scoring(tmp_path / "slow"))
    assert slow["test_accuracy"] < fields["test_accuracy"] - 0.1
    without = LearnedSet.of(found.images, found.labels, {"budget": {}, "step": None})
    with pytest.raises(UserError, match="has no learned learning rates"):
        scorer.score(without, scoring(tmp_path))


def test_a_network_that_diverges_in_its_steps_is_no_result(learned, tmp_path):
    _, found, _ = learned
    record = {**found.record, "extra": {"rates": np.full((3, 2), 1e30).tolist()}}
    with pytest.raises(Diverged, match="network 1 is not finite"):
        UnrolledNetworks(UnrolledEvaluation(MLP, 2)).score(
            LearnedSet.of(found.images, found.labels, record), scoring(tmp_path)
        )


def test_the_score_goes_on_after_an_interruption(learned, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    _, found, _ = learned
    evaluation, calls = UnrolledEvaluation(MLP, 3), []

    def run(directory, report):
        rates = np.asarray(found.record["extra"]["rates"], np.float32)
        x = problem().transform.apply(problem().x_target[:90])
        data = found.images, found.labels, rates, x, problem().labels[:90]
        return unrolled.evaluate(evaluation, *data, 0, directory, report).accuracies

    def stop(done, of, figures):
        calls.append(done)
        if done == 2:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole", lambda *report: None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop)
    assert run(tmp_path / "cut", stop if calls == [1] else lambda *report: None) == whole


def test_cells_have_their_own_score_and_come_back_from_rows():
    cell = distilling_cell("DD", "mnist", 10, KernelSpec("ConvNet"), CONVNET["laptop"])
    assert cell.scorer.evaluation == UnrolledEvaluation(network_of_dd(1, "xavier"), 50)
    assert cell.row_fields["architecture"] == "LeNet" and cell.row_fields["algorithm"] == "NN"
    assert cell_of(json.loads(json.dumps(cell.recorded))) == cell
    published = distilling_cell("SLDD", "cifar10", 10, KernelSpec("ConvNet"))
    assert published.scorer.evaluation.networks == 200
    assert published.scorer.evaluation.network.name == "AlexCifarNet"
    # DC keeps its own evaluation.
    assert "evaluation" in distilling_cell("DC", "mnist", 10, KernelSpec("ConvNet")).recorded
    with pytest.raises(UserError, match="mine is not an official data set"):
        distilling_cell("DD", "mine", 10, KernelSpec("ConvNet"))


def gray(n=60):
    """The small problem with one channel."""
    return dataclasses.replace(
        problem(),
        x_target=problem().x_target[:n, :, :, :1],
        labels=problem().labels[:n],
        transform=type(problem().transform).fit(problem().x_target[:n, :, :, :1]),
    )


def test_bad_input_is_refused(tmp_path, monkeypatch):
    plain = DistillationConfig(1, outer_steps=2, outer_batch=30)
    with pytest.raises(UserError, match="images of 8x8 are too small for the layers of LeNet"):
        DD().run(gray(), plain, 0, tmp_path / "small")
    labels = np.where(problem().labels == 2, 0, problem().labels)
    lacking = dataclasses.replace(problem(), labels=labels)
    with pytest.raises(UserError, match="no image of class 2"):
        DD().run(lacking, SMALL, 0, tmp_path / "lacking")
    wild = dataclasses.replace(SMALL, first_rate=1e30)
    with pytest.raises(Diverged, match="not finite in outer step 1"):
        DD().run(problem(), wild, 0, tmp_path / "wild")
    assert not (tmp_path / "wild" / "support.safetensors").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("DD", "SLDD", "LD"):
        method = find(name)
        with pytest.raises(UserError, match="PyTorch, which is not installed"):
            method.run(problem(), method.config(name, 1), 0, tmp_path / "none")


def test_a_time_is_kept_to():
    config = DD().within(problem(), dataclasses.replace(SMALL, outer_steps=None), seconds=1e-9)
    assert config.outer_steps == 1
    many = DD().within(problem(), SMALL, seconds=1e9)
    assert many.outer_steps == SMALL.outer_steps
