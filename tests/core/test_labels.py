"""Centred labels and class-balanced draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_repro.core.errors import UserError
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot


def test_labels_are_one_hot_minus_one_over_k():
    y = centred_one_hot(np.array([2, 0], np.uint8), 4)
    assert y.dtype == np.float64
    assert np.array_equal(y, [[-0.25, -0.25, 0.75, -0.25], [0.75, -0.25, -0.25, -0.25]])


@given(labels=st.lists(st.integers(0, 6), max_size=30))
def test_rows_of_labels_sum_to_zero_and_point_at_the_class(labels):
    y = centred_one_hot(np.array(labels, int), 7)
    assert y.shape == (len(labels), 7)
    np.testing.assert_allclose(y.sum(1), 0, atol=1e-15)
    assert np.array_equal(y.argmax(1), labels)


@pytest.mark.parametrize("labels", [[0, 4], [-1, 0], [[0, 1]]])
def test_labels_that_are_no_class_numbers_are_refused(labels):
    with pytest.raises(UserError, match=r"class numbers 0\.\.3"):
        centred_one_hot(np.array(labels), 4)


@st.composite
def labelled_sets(draw):
    """Labels in random order in which each of K classes has its own number of images."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    return labels[order], np.array(counts)


@settings(deadline=None)
@given(labelled=labelled_sets(), size=st.integers(0, 90), seed=st.integers(0, 2**32 - 1))
def test_a_draw_is_balanced_and_without_replacement(labelled, size, seed):
    labels, counts = labelled
    n_classes = len(counts)
    rows = ClassBalancedSampler(labels, n_classes).draw(size, np.random.default_rng(seed))
    assert rows.dtype == np.int64
    assert np.all(np.diff(rows) > 0)  # sorted, and nothing twice
    drawn = np.bincount(labels[rows], minlength=n_classes)
    share, extra = divmod(size, n_classes)
    # Every class gives its share or all it has; `extra` classes were asked for one more.
    assert np.all(drawn >= np.minimum(counts, share))
    assert np.all(drawn <= np.minimum(counts, share + 1))
    assert np.sum(drawn > share) <= extra
    if size <= n_classes * (counts.min() - 1):
        assert len(rows) == size


@settings(deadline=None)
@given(labelled=labelled_sets(), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_a_draw_per_class_is_ordered_by_class(labelled, seed, data):
    labels, counts = labelled
    per_class = data.draw(st.integers(1, int(counts.min())))
    sampler = ClassBalancedSampler(labels, len(counts))
    rows = sampler.draw_per_class(per_class, np.random.default_rng(seed))
    assert np.array_equal(labels[rows], np.repeat(np.arange(len(counts)), per_class))
    assert len(np.unique(rows)) == len(rows)


def test_every_image_is_drawn_equally_often():
    labels = np.arange(40) % 4
    sampler, rng = ClassBalancedSampler(labels, 4), np.random.default_rng(0)
    n = 2000
    counts = np.bincount(
        np.concatenate([sampler.draw(10, rng) for _ in range(n)]), minlength=len(labels)
    )
    # Each image is in a draw with probability 1/4: five standard deviations.
    assert np.all(np.abs(counts - n / 4) < 5 * np.sqrt(n * 0.25 * 0.75))


def test_the_same_generator_gives_the_same_draw():
    labels = np.arange(100) % 5
    sampler = ClassBalancedSampler(labels, 5)
    for draw in (sampler.draw, sampler.draw_per_class):
        first, again, other = (draw(12, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_too_few_images_and_missing_classes_are_refused():
    sampler = ClassBalancedSampler(np.array([0, 0, 0, 1, 1]), 2)
    for per_class in (0, 3):
        with pytest.raises(UserError, match="between 1 and 2"):
            sampler.draw_per_class(per_class, np.random.default_rng(0))
    with pytest.raises(UserError, match="no image of class 2"):
        ClassBalancedSampler(np.array([0, 1, 3]), 4)
