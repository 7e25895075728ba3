"""Gradient matching against finite differences, and each part of its distance by a case."""

import dataclasses
import time

import numpy as np
import pytest
from small_problem import images, small_problem

torch = pytest.importorskip("torch")

from paper_repro.core import methods  # noqa: E402
from paper_repro.core.errors import Diverged, UserError  # noqa: E402
from paper_repro.core.kernels.dot_product import fully_connected_kernel  # noqa: E402
from paper_repro.core.methods.gradient_matching import DC, MatchingConfig, matching  # noqa: E402
from paper_repro.core.network.pytorch.networks import build  # noqa: E402
from paper_repro.core.network.pytorch.spec import NetworkSpec  # noqa: E402
from paper_repro.core.preprocess import Standard  # noqa: E402

SMALL = NetworkSpec(width=4, depth=2)


def a_problem():
    """Images of three classes; the kernel is for what scores them."""
    return small_problem(fully_connected_kernel(1))


@pytest.fixture
def network():
    """A smooth small ConvNet in float64: no ReLU whose kink a difference could cross."""
    spec = dataclasses.replace(SMALL, activation="sigmoid")
    return build(spec, (8, 8, 3), 3, seed=1).double()


def batches(n_real=5, n_made=2):
    rng = np.random.default_rng(0)
    return (torch.from_numpy(rng.standard_normal((n, 3, 8, 8))) for n in (n_real, n_made))


def test_the_slope_by_the_images_is_that_of_finite_differences(network):
    real, made = batches()
    made.requires_grad_()
    (slope,) = torch.autograd.grad(matching.class_distance(network, real, made, 1), made)
    direction = torch.from_numpy(np.random.default_rng(3).standard_normal(made.shape))

    def value(step):
        moved = (made + step * direction).detach().requires_grad_()
        return float(matching.class_distance(network, real, moved, 1).detach())

    difference = (value(1e-5) - value(-1e-5)) / 2e-5
    assert float((slope * direction).sum()) == pytest.approx(difference, rel=1e-6)


def test_gradcheck_of_the_distance(network):
    real, made = batches(3, 1)
    made = made[:, :, :4, :4].clone().requires_grad_()
    spec = dataclasses.replace(SMALL, activation="sigmoid", width=2, depth=1, norm="none")
    small = build(spec, (4, 4, 3), 3, seed=2).double()
    assert torch.autograd.gradcheck(
        lambda x: matching.class_distance(small, real[:, :, :4, :4], x, 0), made
    )


def test_the_distance_is_by_filters_and_leaves_out_vectors():
    rng = np.random.default_rng(5)
    shapes = [(4, 3, 3, 3), (4,), (4,), (2, 16), (2,)]
    one, other = (
        [torch.from_numpy(rng.standard_normal(shape)) for shape in shapes] for _ in range(2)
    )
    expected = 0.0
    for a, b in zip(one, other, strict=True):
        if a.ndim == 1:
            continue
        a, b = a.numpy().reshape(len(a), -1), b.numpy().reshape(len(b), -1)
        for row_a, row_b in zip(a, b, strict=True):
            lengths = np.linalg.norm(row_a) * np.linalg.norm(row_b)
            expected += 1 - row_a @ row_b / (lengths + 1e-6)
    found = float(matching.gradient_distance(one, other))
    assert found == pytest.approx(expected, rel=1e-12)
    # Biases and norms may differ by anything.
    other[1], other[4] = 100 * other[1], -other[4]
    assert float(matching.gradient_distance(one, other)) == found
    # A factor of one filter changes nothing, one of a single weight does: the cosine is a filter's.
    scaled = [other[0].clone(), *other[1:]]
    scaled[0][2] *= 7
    assert float(matching.gradient_distance(one, scaled)) == pytest.approx(found, abs=1e-5)
    scaled[0][2, 0, 0, 0] *= 7
    assert abs(float(matching.gradient_distance(one, scaled)) - found) > 1e-3


def test_a_step_sums_over_the_classes(monkeypatch):
    """Every class moves its own images: as much as if it were alone."""
    problem = a_problem()
    config = MatchingConfig(2, real_batch=240, matching_steps=1, learner=SMALL)
    moved = {}
    for kept in (None, 0, 1, 2):
        one = matching._Matching(problem, config, seed=4)
        if kept is not None:
            distance = matching.class_distance
            monkeypatch.setattr(
                matching,
                "class_distance",
                lambda n, r, m, label, kept=kept, d=distance: d(n, r, m, label) * (label == kept),
            )
        state, updates = one.start(), []
        before = state.images.clone()
        one.iterate(state, updates.append)
        assert updates == [1]
        moved[kept] = state.images - before
        monkeypatch.undo()
    assert torch.allclose(moved[None], moved[0] + moved[1] + moved[2], atol=1e-6)
    assert all(moved[c][2 * c : 2 * c + 2].abs().sum() > 0 for c in range(3))
    assert all(not moved[c][:2].any() for c in (1, 2))


@pytest.mark.parametrize(
    "size, loops", [(1, (1, 1)), (2, (10, 50)), (10, (10, 50)), (50, (50, 10)), (80, (50, 10))]
)
def test_published_loops(size, loops):
    assert MatchingConfig(size).loops == loops
    assert MatchingConfig(size, matching_steps=3, network_epochs=4).loops == (3, 4)


def test_the_distance_falls_and_resumes_after_an_interrupt(tmp_path):
    problem = a_problem()
    config = MatchingConfig(1, iterations=30, real_batch=60, learner=SMALL)
    seen = []
    DC().run(problem, config, 0, tmp_path, lambda done, of, figures: seen.append(figures))
    distances = [figures["distance"] for figures in seen]
    assert np.mean(distances[-5:]) < 0.9 * np.mean(distances[:5])


def test_an_iteration_is_timed_by_its_parts(tmp_path):
    # Other work goes on beside the tests: within a factor of three.
    config = MatchingConfig(2, iterations=3, real_batch=8, network_epochs=20, learner=SMALL)
    expected = matching.seconds_of_iteration(a_problem(), config)
    matching.run(a_problem(), config, 0, tmp_path / "first")
    started = time.perf_counter()
    matching.run(a_problem(), config, 0, tmp_path / "again")
    assert expected / 3 < (time.perf_counter() - started) / 3 < 3 * expected


def test_every_update_of_the_images_shows_in_the_progress(tmp_path):
    config = MatchingConfig(1, iterations=2, real_batch=8, matching_steps=3, learner=SMALL)
    seen = []
    DC().run(a_problem(), config, 0, tmp_path, lambda done, of, _: seen.append((done, of)))
    assert seen == [(n, 6) for n in range(1, 7)]


def test_siamese_maps_are_the_same_on_both_batches(monkeypatch):
    problem = a_problem()
    config = MatchingConfig(1, iterations=1, real_batch=8, siamese=True, learner=SMALL)
    drawn, seen = matching.changes.draw, []

    def watched(rng, n, flips):
        change = drawn(rng, n, flips)

        def apply(x):
            seen.append((change.kind, change.parameters.tobytes(), len(x)))
            return change(x)

        return apply

    monkeypatch.setattr(matching.changes, "draw", watched)
    one = matching._Matching(problem, config, seed=0)
    one.iterate(one.start(), [].append)
    assert [n for _, _, n in seen] == [8, 1] * 3  # real, then synthetic, class by class
    for real, made in zip(seen[::2], seen[1::2], strict=True):
        assert real[:2] == made[:2]
    assert len({one[:2] for one in seen}) == 3


def test_bad_input_is_refused(tmp_path):
    problem = a_problem()
    with pytest.raises(UserError, match="images of 8x8 are too small for the layers of VGG11"):
        DC().run(problem, MatchingConfig(1, learner=NetworkSpec("VGG11")), 0, tmp_path)
    with pytest.raises(UserError, match="iterations must be at least 1, not 0"):
        MatchingConfig(1, iterations=0)
    with pytest.raises(UserError, match="unknown network 'Conv': choose from ConvNet, MLP"):
        NetworkSpec("Conv")
    x, y = images(60, seed=1)
    lacking = dataclasses.replace(problem, x_target=x[y > 0], labels=y[y > 0])
    with pytest.raises(UserError, match="no image of class 0: matching needs every class"):
        DC().run(lacking, MatchingConfig(1), 0, tmp_path)


def test_a_run_that_diverges_says_so(tmp_path):
    config = MatchingConfig(1, iterations=50, real_batch=8, learning_rate=1e30, learner=SMALL)
    with pytest.raises(Diverged, match="the distance is not finite in iteration"):
        DC().run(a_problem(), config, 0, tmp_path)


def test_names_settings_and_evaluation():
    dc, dsa = (methods.find(name).config(name, 1) for name in ("DC", "DSA"))
    assert (dc.iterations, dc.real_batch, dc.initial, dc.siamese) == (1_000, 256, "noise", False)
    assert (dsa.initial, dsa.siamese) == ("natural", True)
    of = {
        (name, dataset): DC().evaluation(config, dataset)
        for name, config in (("DC", dc), ("DSA", dsa))
        for dataset in ("mnist", "cifar10")
    }
    assert (of["DC", "mnist"].changes, of["DC", "mnist"].epochs) == ("dc", 1_000)
    assert (of["DC", "cifar10"].changes, of["DC", "cifar10"].epochs) == ("none", 300)
    assert (of["DSA", "mnist"].changes, of["DSA", "mnist"].flips) == ("dsa", False)
    assert (of["DSA", "cifar10"].changes, of["DSA", "cifar10"].flips) == ("dsa", True)


def test_noise_is_of_standardised_images():
    problem = a_problem()
    config = MatchingConfig(20, learner=SMALL)
    start = matching._Matching(problem, config, seed=0).start().images
    assert abs(float(start.std()) - 1) < 0.05
    assert isinstance(problem.transform, Standard)
