"""When the test set is scored, which supports a step updates, and which kernel it draws."""

import dataclasses
import json

import numpy as np
import pytest
from small_problem import N_CLASSES, small_problem

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import from_name
from paper_repro.core.kernels.dot_product import fully_connected_kernel, rbf
from paper_repro.core.kernels.pool.held import RemoteImages
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.methods.kip import KIPConfig, official_steps, support_path
from paper_repro.core.methods.kip.batches import Batches, support_rows
from paper_repro.core.methods.kip.config import evaluation_steps
from paper_repro.core.methods.kip.training import run, take_over
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store import checkpoint

FC1 = fully_connected_kernel(1)
PROBLEM = small_problem(FC1)


@pytest.mark.parametrize("steps", [1, 6, 120, 335, 10_000])
@pytest.mark.parametrize("batch", [500, 5_000])
def test_scoring_the_test_set_costs_at_most_a_tenth_of_the_updates(steps, batch):
    chosen = evaluation_steps(KIPConfig(1, steps, batch, test_share=0.1), 10, 10_000)
    updates = 4 * steps * 10 * (10 + batch)  # a gradient costs three forward passes, and one more
    assert len(chosen) == 1 or len(chosen) * 10 * 10_000 <= 0.1 * updates
    assert chosen[-1] == steps
    assert set(chosen) <= set(official_steps(steps))


def test_scores_are_spread_over_the_official_steps():
    chosen = evaluation_steps(KIPConfig(1, 335, 500, test_share=0.1), 10, 10_000)
    assert chosen == [0, 4, 12, 37, 112, 335]


@pytest.mark.parametrize("patience", [None, 100])
def test_no_share_or_a_choice_on_validation_scores_every_official_step(patience):
    share = None if patience is None else 0.1
    config = KIPConfig(1, 335, 500, patience=patience, test_share=share)
    assert evaluation_steps(config, 10, 10_000) == list(official_steps(335))


def test_supports_are_kept_at_official_steps_that_are_not_scored(tmp_path):
    config = KIPConfig(images_per_class=2, steps=12, target_batch=9, test_share=0.5)
    trajectory = run(PROBLEM, config, 0, tmp_path).record["extra"]["trajectory"]
    scored = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()]
    assert scored == evaluation_steps(config, 6, 90) == [e["step"] for e in trajectory]
    assert len(scored) < len(list(official_steps(12)))
    assert all(support_path(tmp_path, step).exists() for step in official_steps(12))


def test_what_is_scored_does_not_change_the_support(tmp_path):
    config = KIPConfig(images_per_class=2, steps=12, target_batch=30)
    often = run(PROBLEM, config, 0, tmp_path / "often")
    config = dataclasses.replace(config, test_share=0.1)
    rarely = run(PROBLEM, config, 0, tmp_path / "rarely")
    assert often.images.tobytes() == rarely.images.tobytes()
    assert often.record["metrics"] == rarely.record["metrics"]


def moved(directory, step, name):
    """Which supports or labels a step changed."""
    before, after = (
        checkpoint.load(support_path(directory, s)).tensors[name] for s in (step - 1, step)
    )
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if (a != b).any()]


def test_every_step_updates_its_support_batch_alone(tmp_path):
    # From the second step on Adam's moments would move the others as well.
    config = KIPConfig(
        images_per_class=3, steps=2, target_batch=120, support_batch=2, learn_labels=True
    )
    run(PROBLEM, config, 0, tmp_path)
    drawn = [support_rows(step, 0, config, N_CLASSES).tolist() for step in (0, 1)]
    assert drawn[0] != drawn[1]
    for step, rows in enumerate(drawn, 1):
        assert [row // 3 for row in rows] == [0, 0, 1, 1, 2, 2]
        for name in ("images", "labels"):
            assert moved(tmp_path, step, name) == rows


def test_a_support_batch_of_one_moves_as_without_the_others(tmp_path):
    """The moments of what was not drawn stay: an image drawn first in step 2 takes a first step."""
    config = KIPConfig(images_per_class=3, steps=2, target_batch=120, support_batch=1)
    result = run(PROBLEM, config, 0, tmp_path)
    first, second = (set(support_rows(s, 0, config, N_CLASSES).tolist()) for s in (0, 1))
    before = checkpoint.load(support_path(tmp_path, 1)).tensors["images"]
    b1, b2, g = 0.9, 0.999, 1.0  # Adam's step for a first gradient, bias-corrected for step 2
    scale = (1 - b1) * g / (1 - b1**2) / np.sqrt((1 - b2) * g**2 / (1 - b2**2))
    assert second - first
    for row in second - first:
        change = np.abs(result.images[row] - before[row])
        np.testing.assert_allclose(np.median(change), 0.04 * scale, rtol=1e-3)


def test_over_the_steps_a_support_batch_reaches_every_image(tmp_path):
    config = KIPConfig(images_per_class=3, steps=12, target_batch=120, support_batch=1)
    result = run(PROBLEM, config, 0, tmp_path)
    start = checkpoint.load(support_path(tmp_path, 0)).tensors["images"]
    assert all(not np.array_equal(a, b) for a, b in zip(start, result.images, strict=True))


def test_a_support_batch_of_all_images_changes_nothing(tmp_path):
    config = KIPConfig(images_per_class=2, steps=6, target_batch=120)
    whole = run(PROBLEM, config, 0, tmp_path / "whole")
    batch = KIPConfig(images_per_class=2, steps=6, target_batch=120, support_batch=2)
    drawn = run(PROBLEM, batch, 0, tmp_path / "drawn")
    assert whole.images.tobytes() == drawn.images.tobytes()


@pytest.mark.parametrize("steps", [2, 8])
def test_targets_of_a_short_run_are_made_and_of_a_long_one_kept(steps):
    config = KIPConfig(images_per_class=2, steps=steps, target_batch=30)
    targets, y = Batches(PROBLEM, FC1, config, 0)(1, FC1)
    assert isinstance(targets, RemoteImages) == (steps * 30 < len(PROBLEM.x_target))
    drawn = ClassBalancedSampler(PROBLEM.labels, N_CLASSES).draw(
        30, generator(0, Purpose.TARGETS, 1)
    )
    expected = PROBLEM.transform.apply(PROBLEM.x_target[drawn], FC1.dtype)
    np.testing.assert_array_equal(y, PROBLEM.y_target[drawn])
    np.testing.assert_allclose(FC1(expected[:3], targets), FC1(expected[:3], expected), rtol=1e-6)


def test_a_short_run_goes_on_in_the_same_bytes(tmp_path):
    short = KIPConfig(images_per_class=2, steps=2, target_batch=30, decay="cosine")
    long = dataclasses.replace(short, steps=12, restart_at=2)
    run(PROBLEM, short, 0, tmp_path / "short")
    take_over(PROBLEM, long, 0, tmp_path / "short", tmp_path / "long")
    went_on = run(PROBLEM, long, 0, tmp_path / "long")
    at_once = run(PROBLEM, long, 0, tmp_path / "once")
    assert went_on.images.tobytes() == at_once.images.tobytes()


@pytest.mark.parametrize("size", [0, 3])
def test_a_support_batch_that_cannot_be_drawn_is_refused(size):
    with pytest.raises(UserError, match="support_batch"):
        KIPConfig(images_per_class=2, steps=1, target_batch=9, support_batch=size)


def test_random_kernels_are_drawn_per_step_and_resume_in_the_same_bytes(tmp_path):
    alternatives = [FC1, fully_connected_kernel(2), fully_connected_kernel(3)]
    config = KIPConfig(images_per_class=2, steps=8, target_batch=60, learn_labels=True)
    problem = small_problem(FC1, alternatives=alternatives)
    whole = run(problem, config, 0, tmp_path / "a")

    def stop(done, of, metrics):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(problem, config, 0, tmp_path / "b", stop)
    resumed = run(problem, config, 0, tmp_path / "b")
    assert whole.images.tobytes() == resumed.images.tobytes()
    alone = run(PROBLEM, config, 0, tmp_path / "c")
    assert not np.array_equal(whole.images, alone.images)


def test_one_alternative_is_the_kernel_of_every_step(tmp_path):
    config = KIPConfig(images_per_class=2, steps=4, target_batch=60)
    two = fully_connected_kernel(2)
    drawn = run(small_problem(FC1, alternatives=[two]), config, 0, tmp_path / "drawn")
    direct = run(small_problem(two), config, 0, tmp_path / "direct")
    np.testing.assert_allclose(drawn.images, direct.images, rtol=0, atol=1e-6)


def test_the_published_choice_of_random_kernels_trains(tmp_path):
    kernel = from_name("ConvNet", "NTK")
    alternatives = [from_name(name, "NTK") for name in ("ConvNet", "Conv-3", "Conv-8")]
    problem = small_problem(kernel, alternatives=alternatives)
    config = KIPConfig(images_per_class=1, steps=6, target_batch=30)
    result = run(problem, config, 1, tmp_path)
    first, *_, last = result.record["extra"]["trajectory"]
    assert last["test_mse"] < first["test_mse"]
    assert result.images.shape == (N_CLASSES, 8, 8, 3)


def test_a_kernel_with_learned_parameters_is_not_drawn_anew(tmp_path):
    kernel = rbf(learn_scale=True)
    config = KIPConfig(images_per_class=2, steps=1, target_batch=60)
    with pytest.raises(UserError, match="learned parameters"):
        run(small_problem(kernel, alternatives=[kernel]), config, 0, tmp_path)
