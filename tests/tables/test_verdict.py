import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.core.tables.verdict import Verdict, not_run, verdict

percent = st.floats(0, 100)
spread = st.none() | st.floats(0, 20)


@pytest.mark.parametrize(
    ("ours", "ci", "paper", "pm", "reduced", "expected"),
    [
        (49.0, 0.1, 50.0, 0.1, False, "matches"),
        (51.0, None, 50.0, None, True, "matches"),
        (48.9, 0.1, 50.0, 0.1, False, "lower at the paper's budget"),
        (48.9, 0.1, 50.0, 0.1, True, "lower under reduced budget"),
        (51.1, 0.1, 50.0, 0.1, True, "higher"),
        (46.0, 3.0, 50.0, 3.0, False, "matches"),  # the joint interval reaches 4.24
        (45.7, 3.0, 50.0, 3.0, False, "lower at the paper's budget"),
        (0.3, None, 1.3, None, False, "matches"),  # 1.0 in decimal, 1.0000000000000002 in binary
    ],
)
def test_the_rule(ours, ci, paper, pm, reduced, expected):
    assert verdict(ours, ci, paper, pm, reduced) == expected


@given(percent, spread, percent, spread, st.booleans())
def test_it_agrees_with_the_sign_and_widening_only_turns_towards_matches(ours, ci, paper, pm, low):
    result = verdict(ours, ci, paper, pm, low)
    if abs(ours - paper) <= 1:
        assert result is Verdict.MATCHES
    if result is Verdict.HIGHER:
        assert ours > paper
    if result in (Verdict.LOWER_FULL, Verdict.LOWER_REDUCED):
        assert ours < paper
        assert (result is Verdict.LOWER_REDUCED) == low
    wider = verdict(ours, (ci or 0) + 1, paper, pm, low)
    assert wider in (result, Verdict.MATCHES)


@pytest.mark.parametrize("place", range(4))
def test_nan_is_no_verdict(place):
    numbers = [50.0, 1.0, 50.0, 1.0]
    numbers[place] = math.nan
    with pytest.raises(ValueError):
        verdict(*numbers, False)


def test_what_was_not_run_says_what_it_needs():
    assert not_run("a GPU") == "not run (needs a GPU)"
