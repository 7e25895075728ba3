"""Coresets of a small problem: what they keep, and the network that they share."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
from small_problem import N_CLASSES, images

from paper_repro.core import methods
from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.methods.coresets import DrawnConfig, SelectedConfig
from paper_repro.core.methods.coresets.label_noise import flipped_labels
from paper_repro.core.methods.coresets.loss_scores import SCORES
from paper_repro.core.methods.coresets.selection import herding, k_center
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import RandomConfig
from paper_repro.core.network.pytorch import spec
from paper_repro.core.network.pytorch.spec import NetworkSpec
from paper_repro.core.preprocess import Standard
from paper_repro.core.store import checkpoint

torch = pytest.importorskip("torch")

from paper_repro.core.methods.coresets import reference  # noqa: E402
from paper_repro.core.network.pytorch import training  # noqa: E402

SMALL = NetworkSpec(width=4, depth=2)
CONFIG = SelectedConfig(3, feature_epochs=3, learner=SMALL)
SETTINGS = reference.Settings(SMALL, 3, CONFIG.buffer_decay)
SELECTIONS = ("herding", "k_center", "forgetting", "score", "score2", "score3")


@pytest.fixture(scope="module")
def problem():
    x, y = images(300, seed=1)  # two batches an epoch
    return Problem(x, y, N_CLASSES, Standard.fit(x))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory of runs whose reference is trained once for the module."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def known(problem, runs):
    return reference.trained(problem, SETTINGS, 0, runs / "none")


def run(problem, config, directory, seed=0, progress=None):
    return methods.method_of(config).run(problem, config, seed, directory, progress)


def rows_of(problem, learned):
    natural = problem.transform.apply(problem.x_target)
    return [int(np.flatnonzero((natural == x).all((1, 2, 3)))[0]) for x in learned.images]


def expected_rows(problem, known, selection, labels):
    for c in range(N_CLASSES):
        rows = np.flatnonzero(labels == c)
        if selection in ("herding", "k_center"):
            choose = {"herding": herding, "k_center": k_center}[selection]
            yield from rows[choose(known.features(rows), 3)]
        else:
            values = SCORES[selection](known.label_loss, known.predicted_loss, labels)
            yield from rows[np.argsort(values[rows], kind="stable")[:3]]


@pytest.mark.parametrize("selection", [s for s in SELECTIONS if s != "forgetting"])
def test_a_set_is_what_the_rule_chooses_of_each_class(selection, problem, known, runs):
    config = dataclasses.replace(CONFIG, selection=selection)
    learned = run(problem, config, runs / selection)
    wanted = list(expected_rows(problem, known, selection, problem.labels))
    assert rows_of(problem, learned) == wanted
    assert learned.record["extra"] == {"purity": 1.0}
    assert learned.record["budget"] == {"feature_epochs": 3, "reduced": True}
    assert learned.record["seconds"] >= known.seconds


def test_the_forgotten_images_are_those_with_the_largest_counts(problem, known, runs):
    learned = run(problem, dataclasses.replace(CONFIG, selection="forgetting"), runs / "forgetting")
    counts = np.where(known.learned, known.forgotten, 99)
    for c, kept in enumerate(np.split(np.array(rows_of(problem, learned)), N_CLASSES)):
        best = np.sort(counts[problem.labels == c])[::-1][:3]
        assert counts[kept].tolist() == best.tolist()


def test_all_coresets_of_a_seed_share_one_network(problem, known, runs):
    found = sorted(path.name for path in runs.glob("reference-*"))
    with mock.patch.object(reference._Training, "run_epoch", side_effect=AssertionError):
        for size in (1, 5):
            for selection in ("herding", "forgetting", "score2"):
                config = dataclasses.replace(CONFIG, images_per_class=size, selection=selection)
                reports = []
                place = runs / f"{selection}-{size}"
                run(problem, config, place, progress=lambda *report, to=reports: to.append(report))
                assert reports == [(4, 4, {})]
    assert sorted(path.name for path in runs.glob("reference-*")) == found and len(found) == 1


def test_smaller_sets_of_herding_begin_larger_ones(problem, known, runs):
    small, large = (
        run(problem, dataclasses.replace(CONFIG, images_per_class=n), runs / f"herding-{n}")
        for n in (1, 5)
    )
    assert np.array_equal(small.images, large.images[::5])


def test_a_training_that_was_cut_goes_on_bit_for_bit(problem, known, tmp_path):
    class Cut(Exception):
        pass

    def cut(done, of, figures):
        if done == 2:
            raise Cut

    for _ in range(2):
        with pytest.raises(Cut), mock.patch.object(checkpoint, "SECONDS", 0.0):
            reference.trained(problem, SETTINGS, 0, tmp_path / "run", cut)
    seen = []
    with mock.patch.object(checkpoint, "SECONDS", 0.0):
        again = reference.trained(
            problem, SETTINGS, 0, tmp_path / "run", lambda *report: seen.append(report[0])
        )
    assert seen == [2, 3]
    for name in ("forgotten", "learned", "label_loss", "predicted_loss"):
        assert np.array_equal(getattr(again, name), getattr(known, name))
    some = np.arange(7)
    assert np.array_equal(again.features(some), known.features(some))
    assert known.features(some).shape == (7, 4 * 2 * 2)


def test_no_network_that_scores_a_coreset_starts_as_the_one_that_chose_it(problem):
    x, y = torch.zeros(9, 1, 8, 8), torch.zeros(9, dtype=torch.long)
    shape = problem.x_target.shape[1:]
    x = torch.zeros(9, shape[-1], *shape[:2])
    scoring = training.Training(spec.Evaluation(SMALL), x, y, N_CLASSES, seed=0)
    choosing = reference._Training(problem, SETTINGS, 0)
    pairs = zip(scoring.network.parameters(), choosing._network.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_losses_and_forgetting_are_those_of_the_network_in_training(problem, tmp_path):
    """One epoch of one batch: what is recorded is of the network as it was initialised."""
    few = dataclasses.replace(problem, x_target=problem.x_target[:9], labels=problem.labels[:9])
    one = reference.Settings(SMALL, 1, 0.9)
    found = reference.trained(few, one, 5, tmp_path / "run")
    training = reference._Training(few, one, 5)
    x = reference._inputs(few, np.arange(9))
    logits = training._network(x).detach().numpy().astype(np.float64)
    losses = np.log(np.exp(logits).sum(1, keepdims=True)) - logits
    np.testing.assert_allclose(found.label_loss, losses[np.arange(9), few.labels], rtol=1e-5)
    np.testing.assert_allclose(found.predicted_loss, losses.min(1), rtol=1e-5)
    assert np.array_equal(found.learned, logits.argmax(1) == few.labels)
    assert not found.forgotten.any()


def test_random_is_the_draw_of_natural(problem, tmp_path):
    drawn = run(problem, DrawnConfig(4), tmp_path / "a", seed=7)
    natural = run(problem, RandomConfig(4), tmp_path / "b", seed=7)
    assert drawn.images.tobytes() == natural.images.tobytes()
    assert np.array_equal(drawn.labels, natural.labels)
    assert natural.record.get("extra") is None


def test_flipped_labels_are_those_of_the_set_and_purity_counts_the_right_ones(problem, tmp_path):
    config = DrawnConfig(20, flipped=0.5)
    learned = run(problem, config, tmp_path / "run", seed=2)
    given = flipped_labels(problem.labels, N_CLASSES, 0.5, seed=2)
    rows = rows_of(problem, learned)
    assert np.array_equal(learned.classes, given[rows])
    share = np.mean(given[rows] == problem.labels[rows])
    assert learned.record["extra"]["purity"] == share and 0.3 < share < 0.7


@pytest.mark.parametrize("selection", ["forgetting", "score", "score3"])
def test_across_classes_the_best_of_all_are_chosen(selection, problem, tmp_path):
    config = dataclasses.replace(CONFIG, selection=selection, across_classes=True, flipped=0.3)
    learned = run(problem, config, tmp_path / "run")
    given = dataclasses.replace(
        problem, labels=flipped_labels(problem.labels, N_CLASSES, 0.3, seed=0)
    )
    known = reference.trained(given, SETTINGS, 0, tmp_path / "none")
    rows = np.array(rows_of(problem, learned))
    assert len(set(rows)) == 9 and np.array_equal(learned.classes, given.labels[rows])
    if selection == "forgetting":
        values = -np.where(known.learned, known.forgotten, 99)
    else:
        values = SCORES[selection](known.label_loss, known.predicted_loss, given.labels)
    assert values[rows].tolist() == np.sort(values)[:9].tolist()


def test_bad_input_is_refused_before_anything_is_trained(problem, tmp_path):
    with mock.patch.object(reference, "trained", side_effect=AssertionError):
        with pytest.raises(UserError, match=r"between 1 and 100 \(class 0\), not 101"):
            run(problem, dataclasses.replace(CONFIG, images_per_class=101), tmp_path / "a")
        gap = dataclasses.replace(problem, labels=np.where(problem.labels == 1, 0, problem.labels))
        with pytest.raises(UserError, match="no image of class 1: a coreset needs every class"):
            run(gap, CONFIG, tmp_path / "b")
        with pytest.raises(UserError, match="cannot choose 303 of 300 images"):
            config = dataclasses.replace(
                CONFIG, images_per_class=101, selection="score", across_classes=True
            )
            run(problem, config, tmp_path / "c")
        with (
            mock.patch.object(spec.importlib.util, "find_spec", lambda name: None),
            pytest.raises(UserError, match="PyTorch, which is not installed"),
        ):
            run(problem, CONFIG, tmp_path / "d")
    with pytest.raises(UserError, match="between 1 and 100"):
        run(problem, DrawnConfig(101), tmp_path / "e")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flipped": 1.0}, "flipped must be a share from 0 to below 1, not 1.0"),
        ({"selection": "best"}, "unknown selection 'best': choose from herding, k_center"),
        ({"feature_epochs": 0}, "feature_epochs must be at least 1, not 0"),
        ({"buffer_decay": 1.0}, "buffer_decay must be from 0 to below 1, not 1.0"),
        ({"across_classes": True}, "herding covers one class at a time"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_loss_that_is_not_finite_ends_the_run(problem, tmp_path):
    with (
        mock.patch.object(reference, "RATE", 1e30),
        pytest.raises(Diverged, match="the loss of the reference network is not finite in epoch"),
    ):
        run(problem, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run" / "support.safetensors").exists()


def test_another_process_with_the_same_network_is_refused(problem, tmp_path, known, runs):
    (place,) = runs.glob("reference-*")
    copy = tmp_path / place.name
    with (
        reference.exclusive(copy),
        pytest.raises(UserError, match="another process is using"),
    ):
        run(problem, CONFIG, tmp_path / "run")
