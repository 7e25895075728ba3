"""The choices are those of brute force, the counts and scores those of a calculation by hand."""

import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.methods.coresets.label_noise import flipped_labels, purity
from paper_repro.core.methods.coresets.loss_scores import SCORES
from paper_repro.core.methods.coresets.memory import Memory
from paper_repro.core.methods.coresets.selection import (
    herding,
    k_center,
    lowest,
    most_forgotten,
)


def brute_herding(features, count):
    chosen = []
    for _ in range(count):
        rest = [i for i in range(len(features)) if i not in chosen]
        means = [features[[*chosen, i]].mean(0) for i in rest]
        chosen.append(rest[int(np.argmin([np.linalg.norm(m - features.mean(0)) for m in means]))])
    return chosen


def brute_k_center(features, count):
    chosen = [int(np.argmin(np.linalg.norm(features - features.mean(0), axis=1)))]
    while len(chosen) < count:
        distances = np.linalg.norm(features[:, None] - features[chosen], axis=2).min(1)
        chosen.append(int(distances.argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("fast", "brute"), [(herding, brute_herding), (k_center, brute_k_center)])
def test_the_choice_is_that_of_brute_force(fast, brute, seed):
    # Features after ReLU are positive and far from zero.
    features = np.random.default_rng(seed).exponential(3, (40, 7)) + 20
    assert fast(features, 40 if fast is herding else 39).tolist() == brute(
        features, 40 if fast is herding else 39
    )
    assert fast(features.astype(np.float32), 5).tolist() == fast(features, 9)[:5].tolist()


def test_equal_images_are_all_chosen_once():
    same = np.ones((4, 3))
    assert herding(same, 4).tolist() == k_center(same, 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 4])
def test_more_or_fewer_than_there_are_is_refused(count):
    rng, three = np.random.default_rng(0), np.ones(3)
    for choose in (
        lambda: herding(np.ones((3, 2)), count),
        lambda: k_center(np.ones((3, 2)), count),
        lambda: most_forgotten(three, three > 0, count, rng),
        lambda: lowest(three, count),
    ):
        with pytest.raises(UserError, match=f"cannot choose {count} of 3 images: ask for 1 to 3"):
            choose()


def test_forgetting_is_counted_as_by_hand():
    seen = ("0101", "1010", "0000", "1111", "0110")  # right (1) or wrong, epoch by epoch
    memory, batches = Memory.empty(5), ([3, 0], [4, 1, 2])
    for epoch in range(4):
        for rows in map(np.array, batches):
            right = np.array([seen[row][epoch] == "1" for row in rows])
            memory.see(rows, right, np.zeros(len(rows)), np.zeros(len(rows)), 0.5)
    assert memory.forgotten.tolist() == [1, 2, 0, 0, 1]
    assert memory.learned.tolist() == [True, True, False, True, True]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        order = most_forgotten(memory.forgotten, memory.learned, 5, rng).tolist()
        assert order[:2] == [2, 1] and set(order[2:4]) == {0, 4} and order[4] == 3


def test_the_buffers_are_weighted_means_over_the_epochs():
    memory, losses = Memory.empty(2), np.array([[4.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    for loss in losses:
        memory.see(np.arange(2), np.ones(2, bool), loss, loss / 2, 0.5)
    label, predicted = memory.mean_losses(3, 0.5)
    assert label.tolist() == [(1.0 * 1 + 0.5 * 2 + 0.25 * 4) / 1.75, 1.0]
    assert predicted.tolist() == (label / 2).tolist()


def test_scores_are_those_of_the_formulas():
    label = np.array([0.2, 0.6, 1.0, 3.0, 0.5])
    predicted = np.array([0.2, 0.1, 1.0, 0.5, 0.5])
    labels = np.array([0, 0, 2, 2, 1])
    expected = {
        "score": [0.2 / 0.4, 0.6 / 0.4, 1.0 / 2, 3.0 / 2, 1.0],
        "score2": [0, 0.5 / 0.4, 0, 2.5 / 2, 0],
        "score3": [0, 0.5 / 0.25, 0, 2.5 / 1.25, 0],
    }
    for name, values in expected.items():
        found = SCORES[name](label, predicted, labels)
        np.testing.assert_allclose(found, values, rtol=1e-14)
        assert found.dtype == np.float64


def test_flips_are_as_many_as_asked_for_and_leave_the_given_labels():
    labels = np.arange(300) % 3
    before = labels.copy()
    flipped = flipped_labels(labels, 3, 0.25, seed=1)
    assert np.array_equal(labels, before) and purity(flipped, labels) == 0.75
    assert set(flipped) == {0, 1, 2}
    assert np.array_equal(flipped, flipped_labels(labels, 3, 0.25, seed=1))
    assert not np.array_equal(flipped, flipped_labels(labels, 3, 0.25, seed=2))
    assert flipped_labels(labels, 3, 0.0, seed=1) is labels
