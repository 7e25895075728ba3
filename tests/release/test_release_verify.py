"""Verifying: a whole release passes offline; scores are compared within their tolerance."""

import socket

import numpy as np
import pytest
from distilled_sets import LEARNED, SETS, edit_json, files_below, listed_again

import release
from paper_repro.core.errors import UserError
from paper_repro.core.sets.scoring import SAME_IMAGES, rows_to_score, tolerance


def test_a_release_verifies_and_is_left_as_it_was(made, copy):
    before = files_below(copy)
    assert release.verify(copy, made.checkpoints) == sorted(SETS)
    assert files_below(copy) == before


def test_without_a_network(made, monkeypatch):
    """No name resolves and no connection is made: every socket call raises."""

    def refuse(*arguments, **keywords):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(release.verify(made.folder)) == 4


def test_scores_are_those_stated(made, copy):
    said = []
    release.verify(copy, score=True, data_dir=made.data_dir, report=said.append)
    assert len(said) == 4
    path = copy / "records" / f"{LEARNED}.json"
    edit_json(path, lambda record: record["metrics"].update(test_accuracy=0.01))
    listed_again(copy)
    with pytest.raises(release.ReleaseProblems) as found:
        release.verify(copy, score=True, n_test=50, data_dir=made.data_dir)
    (problem,) = found.value.problems
    assert problem.startswith(LEARNED) and "stated 1.00 %" in problem


def test_tolerance_of_a_score():
    assert tolerance(0.7, 10_000, 10_000) == SAME_IMAGES
    # sqrt(0.25 * (1 / 2,000 - 1 / 10,000)) is one percent.
    assert tolerance(0.5, 10_000, 2_000) == pytest.approx(SAME_IMAGES + 0.0329, rel=1e-3)
    assert tolerance(0.5, 2_000, 10_000) == tolerance(0.5, 10_000, 2_000)
    assert tolerance(1.0, 10_000, 100) > SAME_IMAGES


def test_fewer_images_are_spread_over_the_stated_ones():
    rows = np.arange(10_000)
    assert rows[rows_to_score(10_000, None)].size == 10_000
    np.testing.assert_array_equal(rows[rows_to_score(10_000, 2_000)], rows[::5])
    np.testing.assert_array_equal(rows[rows_to_score(100, 30)], np.arange(30) * 100 // 30)
    assert rows[rows_to_score(100, 500)].size == 500


def test_all_problems_are_listed_at_once(copy):
    (copy / "npz" / f"{LEARNED}.npz").unlink()
    (copy / "README.md").write_text("changed")
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(release.ReleaseProblems) as found:
        release.verify(copy)
    problems = "\n".join(found.value.problems)
    assert len(found.value.problems) == 3
    assert f"npz/{LEARNED}.npz is missing" in problems
    assert "README.md has 7 bytes" in problems
    assert "extra.bin is not listed" in problems


def test_other_checkpoints_are_told_apart(made, copy, checkpoints):
    path = checkpoints / LEARNED / "record.json"
    edit_json(path, lambda record: record["metrics"].update(test_accuracy=0.9))
    with pytest.raises(release.ReleaseProblems, match="its record is not that of"):
        release.verify(copy, checkpoints)


def test_options_that_cannot_be(copy):
    for n_test in (0, -1):
        with pytest.raises(UserError, match="n_test must be at least 1"):
            release.verify(copy, score=True, n_test=n_test)
    with pytest.raises(UserError, match="comes with --score"):
        release.verify(copy, n_test=5)
