import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.core.tables.statistics import binomial_interval, estimate, half_width, mean

samples = st.lists(st.floats(0, 100), min_size=2, max_size=12)


@given(samples)
def test_the_interval_is_scipys(values):
    spread = float(np.std(values, ddof=1))
    expected = scipy.stats.t.ppf(0.975, len(values) - 1) * spread / np.sqrt(len(values))
    assert half_width(values) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert mean(values) == pytest.approx(np.mean(values))


def test_one_value_has_no_interval_and_none_no_mean():
    assert estimate([46.6]).half_width is None
    assert (estimate([46.6]).mean, estimate([46.6]).n) == (46.6, 1)
    with pytest.raises(ValueError):
        mean([])


def test_intervals_cover_the_mean_as_often_as_they_say():
    draws = np.random.default_rng(0).normal(50, 2, size=(2000, 3))
    covered = np.mean([abs(mean(list(d)) - 50) <= half_width(list(d)) for d in draws])
    assert 0.93 < covered < 0.97


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_binomial_interval_is_wilsons(n, fraction):
    hits = round(n * fraction)
    low, high = binomial_interval(hits / n, n)
    expected = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1


@pytest.mark.parametrize(("accuracy", "n"), [(74.5, 100), (-0.1, 100), (0.5, 0)])
def test_what_is_no_accuracy_is_refused(accuracy, n):
    with pytest.raises(ValueError):
        binomial_interval(accuracy, n)
