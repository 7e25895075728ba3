import dataclasses
import itertools
import json
import warnings

import numpy as np
import pytest
from small_problem import N_CLASSES, images, small_problem

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels.dot_product import fully_connected_kernel, rbf
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.kip import KIP, KIPConfig, official_steps, support_path
from paper_repro.core.methods.kip.training import run
from paper_repro.core.preprocess import Standard
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.store import checkpoint

FC1 = fully_connected_kernel(1)
PROBLEM = small_problem(FC1)
PLAIN = KIPConfig(images_per_class=2, steps=30, target_batch=120)
# Its validation loss is lowest at step 6 and rises again.
UNSTABLE = dataclasses.replace(PLAIN, learning_rate=0.5, learn_labels=True)
PUBLISHED_STEPS = [
    *(0, 1, 2, 4, 6, 8, 12, 18, 26, 37, 54, 78, 112, 162, 233, 335, 483, 695, 1000),
    *range(1500, 50_001, 500),
]

VARIANTS = {
    "plain": (FC1, PLAIN),
    "learned labels and augmentation": (
        FC1,
        dataclasses.replace(PLAIN, learn_labels=True, augmentation=Augmentation(fraction=0.7)),
    ),
    "selected on validation": (FC1, dataclasses.replace(UNSTABLE, patience=100)),
    "from noise": (FC1, dataclasses.replace(PLAIN, initial="noise")),
    "learned scale": (rbf(learn_scale=True), PLAIN),
    "decay and solved labels": (
        FC1,
        dataclasses.replace(PLAIN, learn_labels=True, decay="cosine", final_labels="solve"),
    ),
    "restart": (FC1, dataclasses.replace(PLAIN, decay="cosine", restart_at=20)),
}


class Killed(Exception):
    """Ends a run without a chance to save, as `kill -9` does."""


def stop_at(step, how):
    def progress(done, of, metrics):
        if done == step:
            raise how

    return progress


def metrics_without_seconds(directory):
    entries = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]


def support_files(directory):
    return {path.name: path.read_bytes() for path in directory.glob("support_*.safetensors")}


def assert_same_run(a, b):
    """Two directories hold the same run, bit for bit, wall-clock apart."""
    assert support_files(a) == support_files(b) != {}
    assert metrics_without_seconds(a) == metrics_without_seconds(b)


def assert_same_result(a, b):
    assert a.images.tobytes() == b.images.tobytes()
    assert a.labels.tobytes() == b.labels.tobytes()
    a, b = ({k: v for k, v in result.record.items() if k != "seconds"} for result in (a, b))
    assert a == b


def outcome(result):
    """The step that was selected, the steps that were run, and whether the loss was flat."""
    extra = result.record["extra"]
    return result.record["step"], extra["steps_run"], extra["converged"]


@pytest.fixture(scope="module", params=VARIANTS)
def uninterrupted(request, tmp_path_factory):
    kernel, config = VARIANTS[request.param]
    directory = tmp_path_factory.mktemp("uninterrupted")
    problem = small_problem(kernel)
    return problem, config, directory, run(problem, config, 5, directory)


def test_a_run_interrupted_several_times_ends_in_the_same_bytes(uninterrupted, tmp_path):
    problem, config, directory, expected = uninterrupted
    for step in (1, 5, 6, 17, 29):
        with pytest.raises(KeyboardInterrupt):
            run(problem, config, 5, tmp_path, progress=stop_at(step, KeyboardInterrupt))
    assert_same_result(run(problem, config, 5, tmp_path), expected)
    assert_same_run(tmp_path, directory)


def test_a_run_killed_several_times_ends_in_the_same_bytes(uninterrupted, tmp_path):
    problem, config, directory, expected = uninterrupted
    for step in (3, 11, 25):
        with pytest.raises(Killed):
            run(problem, config, 5, tmp_path, progress=stop_at(step, Killed))
    assert_same_result(run(problem, config, 5, tmp_path), expected)
    assert_same_run(tmp_path, directory)


def test_a_finished_run_is_read_back_without_a_step(uninterrupted):
    problem, config, directory, expected = uninterrupted
    never = stop_at(1, AssertionError("a step was done"))
    assert_same_result(run(problem, config, 5, directory, progress=never), expected)


def test_another_seed_gives_another_support(tmp_path):
    a = run(PROBLEM, PLAIN, 0, tmp_path / "0")
    b = run(PROBLEM, PLAIN, 1, tmp_path / "1")
    assert not np.array_equal(a.images, b.images)


def test_training_lowers_the_loss_on_held_out_images(tmp_path):
    run(PROBLEM, dataclasses.replace(PLAIN, learn_labels=True), 0, tmp_path)
    first, *_, last = metrics_without_seconds(tmp_path)
    assert last["validation_mse"] < 0.8 * first["validation_mse"]
    assert last["test_mse"] < 0.8 * first["test_mse"]


def test_without_patience_the_last_step_is_selected(tmp_path):
    result = run(PROBLEM, UNSTABLE, 0, tmp_path)
    assert outcome(result) == (30, 30, False)
    entries = metrics_without_seconds(tmp_path)
    assert min(entries, key=lambda e: e["validation_mse"])["step"] != 30


def test_with_patience_the_lowest_validation_loss_is_selected(tmp_path):
    result = run(PROBLEM, dataclasses.replace(UNSTABLE, patience=100), 0, tmp_path)
    best = min(metrics_without_seconds(tmp_path), key=lambda e: e["validation_mse"])
    assert 0 < result.record["step"] == best["step"] < 30
    assert result.record["extra"]["validation_mse"] == best["validation_mse"]
    kept = checkpoint.load(support_path(tmp_path, best["step"])).tensors
    assert result.images.tobytes() == kept["images"].tobytes()


def test_the_test_set_does_not_take_part_in_the_selection(tmp_path):
    unstable = dataclasses.replace(UNSTABLE, patience=100)
    wrong = np.random.default_rng(0).permutation(images(90, seed=3)[1])
    a = run(PROBLEM, unstable, 0, tmp_path / "a")
    b = run(small_problem(FC1, test_labels=wrong), unstable, 0, tmp_path / "b")
    a, b = a.record, b.record
    assert a["metrics"]["test_mse"] != b["metrics"]["test_mse"]
    assert a["step"] == b["step"]
    assert a["extra"]["validation_mse"] == b["extra"]["validation_mse"]
    assert support_files(tmp_path / "a") == support_files(tmp_path / "b")


def test_a_run_stops_once_the_validation_loss_is_flat(tmp_path):
    # Half of the loss within 10 steps is out of reach, so the first look back that far ends it.
    config = dataclasses.replace(PLAIN, patience=10, flat=0.5)
    result = run(PROBLEM, config, 0, tmp_path)
    assert outcome(result) == (12, 12, True)


def test_a_run_whose_loss_still_falls_uses_its_steps_up(tmp_path):
    config = dataclasses.replace(PLAIN, patience=10)
    result = run(PROBLEM, config, 0, tmp_path)
    assert outcome(result)[1:] == (30, False)


def test_patience_without_a_validation_set_is_refused(tmp_path):
    problem = dataclasses.replace(PROBLEM, validation=None)
    with pytest.raises(UserError, match="validation"):
        run(problem, dataclasses.replace(PLAIN, patience=10), 0, tmp_path)


def test_a_natural_start_is_drawn_from_the_targets_ordered_by_class(tmp_path):
    start = run(PROBLEM, dataclasses.replace(PLAIN, steps=0), 0, tmp_path)
    x = PROBLEM.transform.apply(PROBLEM.x_target)
    rows = [int(np.flatnonzero((x == image).all((1, 2, 3)))[0]) for image in start.images]
    assert len(set(rows)) == 6
    assert PROBLEM.labels[rows].tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(
        start.labels, centred_one_hot(PROBLEM.labels[rows], N_CLASSES).astype(np.float32)
    )


def test_a_noise_start_is_gaussian_at_the_scale_of_the_images(tmp_path):
    noise = dataclasses.replace(PLAIN, steps=0, initial="noise", images_per_class=20)
    x = run(PROBLEM, noise, 0, tmp_path / "noise").images
    natural = dataclasses.replace(noise, initial="natural")
    like = run(PROBLEM, natural, 0, tmp_path / "natural").images
    assert x.shape == like.shape
    assert np.sqrt(np.mean(x**2)) == pytest.approx(np.sqrt(np.mean(like**2)), rel=0.03)
    kurtosis = np.mean(x**4) / np.mean(x**2) ** 2
    assert kurtosis == pytest.approx(3, rel=0.05)
    assert np.array_equal(x, run(PROBLEM, noise, 0, tmp_path / "again").images)


@pytest.mark.parametrize("learn", [False, True])
def test_labels_move_only_when_they_are_learned(tmp_path, learn):
    result = run(PROBLEM, dataclasses.replace(PLAIN, learn_labels=learn), 0, tmp_path)
    start = checkpoint.load(support_path(tmp_path, 0)).tensors
    assert (result.labels.tobytes() == start["labels"].tobytes()) != learn
    assert result.images.tobytes() != start["images"].tobytes()


def test_augmenting_changes_the_run_and_augmenting_nothing_does_not(tmp_path):
    results = [
        run(PROBLEM, dataclasses.replace(PLAIN, augmentation=how), 0, tmp_path / str(number))
        for number, how in enumerate((None, Augmentation(fraction=0.0), Augmentation()))
    ]
    plain, none, all_targets = (result.images.tobytes() for result in results)
    assert plain == none != all_targets


def test_a_learned_scale_moves_and_is_recorded_at_every_kept_step(tmp_path):
    kernel = rbf(scale=0.5, learn_scale=True)
    problem = small_problem(kernel)
    result = run(problem, PLAIN, 0, tmp_path)
    scales = [entry["parameters"]["scale"] for entry in metrics_without_seconds(tmp_path)]
    assert scales[0] == pytest.approx(0.5, rel=1e-6)
    assert scales[-1] == result.record["extra"]["parameters"]["scale"] != scales[0]
    fixed = run(small_problem(rbf(0.5)), PLAIN, 0, tmp_path / "fixed")
    assert "parameters" not in fixed.record["extra"]


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(PROBLEM, PLAIN, 0, tmp_path, stop_at(5, KeyboardInterrupt))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="holds another run"):
        run(PROBLEM, dataclasses.replace(PLAIN, learning_rate=0.05), 0, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_states_of_another_scale_transform_or_test_set_are_refused(tmp_path):
    config = dataclasses.replace(PLAIN, steps=2)
    problem = small_problem(rbf(1.0))
    run(problem, config, 0, tmp_path)
    brighter = Standard.fit(255 - problem.x_target // 2)
    shuffled = dataclasses.replace(problem.test, y=problem.test.y[::-1])
    for changed in (
        small_problem(rbf(0.5)),
        dataclasses.replace(problem, transform=brighter),
        dataclasses.replace(problem, test=shuffled),
    ):
        with pytest.raises(UserError, match="holds another run"):
            run(changed, config, 0, tmp_path)


def test_test_images_of_another_shape_are_no_divergence(tmp_path):
    prepared = FC1.prepare(np.zeros((len(PROBLEM.test.y), 5, 5, 3), np.float32))
    wrong = dataclasses.replace(PROBLEM.test, prepared=prepared)
    with pytest.raises(UserError, match="one shape"):
        run(dataclasses.replace(PROBLEM, test=wrong), PLAIN, 0, tmp_path)


@pytest.mark.parametrize("what", ["images_per_class", "steps", "seed", "kernel", "data"])
def test_states_of_another_kind_of_run_are_refused(tmp_path, what):
    config = dataclasses.replace(PLAIN, steps=2)
    run(PROBLEM, config, 0, tmp_path)
    changed = dataclasses.replace(config, **{what: 3}) if hasattr(config, what) else config
    negative = dataclasses.replace(PROBLEM, x_target=255 - PROBLEM.x_target)
    nngp = dataclasses.replace(PROBLEM, kernel_fn=fully_connected_kernel(1, get="nngp"))
    problem = {"data": negative, "kernel": nngp}.get(what, PROBLEM)
    with pytest.raises(UserError, match="holds another run"):
        run(problem, changed, int(what == "seed"), tmp_path)


def test_a_truncated_state_is_named_and_the_one_before_it_ends_in_the_same_bytes(tmp_path):
    expected = run(PROBLEM, PLAIN, 0, tmp_path / "whole")
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(PROBLEM, PLAIN, 0, cut, progress=stop_at(20, KeyboardInterrupt))
    state = cut / "state.safetensors"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with pytest.warns(UserWarning, match=f"{state} is truncated or damaged"):
        assert_same_result(run(PROBLEM, PLAIN, 0, cut), expected)
    assert_same_run(cut, tmp_path / "whole")


def test_two_truncated_states_are_refused_by_name(tmp_path):
    run(PROBLEM, dataclasses.replace(PLAIN, steps=4), 0, tmp_path)
    for path in tmp_path.glob("state*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UserError, match=r"state\.previous\.safetensors .*delete"),
    ):
        run(PROBLEM, PLAIN, 0, tmp_path)


def test_a_half_written_last_line_of_metrics_does_no_harm(tmp_path):
    expected = run(PROBLEM, PLAIN, 0, tmp_path / "whole")
    with pytest.raises(Killed):
        run(PROBLEM, PLAIN, 0, tmp_path / "cut", progress=stop_at(20, Killed))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 26, "seco')
    assert_same_result(run(PROBLEM, PLAIN, 0, tmp_path / "cut"), expected)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("patience", [None, 100])
def test_metrics_that_are_gone_are_reported_by_name(tmp_path, patience):
    config = dataclasses.replace(PLAIN, patience=patience)
    with pytest.raises(KeyboardInterrupt):
        run(PROBLEM, config, 0, tmp_path, progress=stop_at(20, KeyboardInterrupt))
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged or gone, .*step 0"):
        run(PROBLEM, config, 0, tmp_path)


def test_nan_images_are_reported_before_any_step(tmp_path):
    x = PROBLEM.x_target.astype(np.float32)
    x[7, 3, 3, 0] = np.nan
    problem = dataclasses.replace(PROBLEM, x_target=x)
    with pytest.raises(UserError, match="image 7 has NaN"):
        run(problem, PLAIN, 0, tmp_path, progress=stop_at(1, AssertionError))


def test_labels_that_do_not_match_the_images_are_refused():
    with pytest.raises(UserError, match="240 target images but 239 labels"):
        dataclasses.replace(PROBLEM, labels=PROBLEM.labels[1:])


def test_a_run_that_diverges_keeps_what_it_had_and_diverges_again(tmp_path):
    config = dataclasses.replace(PLAIN, learning_rate=1e30)
    for _ in range(2):
        with pytest.raises(Diverged, match="step 1"):
            run(PROBLEM, config, 0, tmp_path)
        assert [entry["step"] for entry in metrics_without_seconds(tmp_path)] == [0]
        assert np.isfinite(checkpoint.load(support_path(tmp_path, 0)).tensors["images"]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"images_per_class": 0},
        {"steps": -1},
        {"steps": 10**20},
        {"target_batch": 0},
        {"patience": 0},
        {"initial": "Noise"},
        {"learning_rate": -0.04},
        {"diag_reg": float("nan")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        dataclasses.replace(PLAIN, **wrong)


def test_checkpoints_are_kept_at_the_published_steps():
    assert list(official_steps(50_000)) == PUBLISHED_STEPS
    assert len(PUBLISHED_STEPS) == 117


@pytest.mark.parametrize("last", [0, 1, 2, 3, 300, 1000, 1001, 1499, 1500, 1501, 10_000])
def test_the_last_step_is_kept_once_whatever_it_is(last):
    steps = list(official_steps(last))
    assert steps == [*itertools.takewhile(lambda step: step < last, PUBLISHED_STEPS), last]


def test_a_run_keeps_a_support_and_metrics_at_each_official_step(tmp_path):
    run(PROBLEM, PLAIN, 0, tmp_path)
    steps = [0, 1, 2, 4, 6, 8, 12, 18, 26, 30]
    assert [entry["step"] for entry in metrics_without_seconds(tmp_path)] == steps
    assert sorted(support_files(tmp_path)) == [f"support_{s:06d}.safetensors" for s in steps]


def test_the_rate_decays_to_nothing_over_the_steps(tmp_path):
    """The first step is that of a constant rate, the last one moves next to nothing."""
    config = dataclasses.replace(PLAIN, learn_labels=True)
    constant = run(PROBLEM, config, 0, tmp_path / "constant")
    decayed = run(PROBLEM, dataclasses.replace(config, decay="cosine"), 0, tmp_path / "decayed")

    def images_at(name, step):
        return checkpoint.load(support_path(tmp_path / name, step)).tensors["images"]

    assert images_at("constant", 1).tobytes() == images_at("decayed", 1).tobytes()
    moved = {
        name: np.abs(images_at(name, 30) - images_at(name, 26)).max()
        for name in ("constant", "decayed")
    }
    # Adam moves a coordinate by about the rate: 4 x 0.04, and 0.04 x 0.09 in all of the cosine.
    assert moved["decayed"] < 0.1 * moved["constant"]
    assert (constant.record["budget"].get("decay"), decayed.record["budget"]["decay"]) == (
        None,
        "cosine",
    )


def test_the_rate_begins_again_at_the_restart(tmp_path):
    """In six cosines the last step of one moves little, the first of the next as much as ever."""
    config = dataclasses.replace(PLAIN, steps=12, decay="cosine", restart_at=8)
    run(PROBLEM, config, 0, tmp_path)
    supports = {
        step: checkpoint.load(support_path(tmp_path, step)).tensors["images"]
        for step in (0, 1, 6, 8, 12)
    }

    def moved(a, b):
        return np.abs(supports[b] - supports[a]).max()

    # Adam moves a coordinate by about the rate: 0.04 at first, then 0.04 x (0.15 + 0.04) in two
    # steps, then 0.04 x (1 + 0.85 + 0.5 + 0.15) in four.
    assert moved(6, 8) < 0.4 * moved(0, 1) < moved(0, 1) < moved(8, 12)


def test_a_finished_run_goes_on_from_its_last_step(tmp_path):
    longer = dataclasses.replace(PLAIN, decay="cosine", restart_at=20, test_share=0.5)
    seen = []
    whole = run(PROBLEM, longer, 0, tmp_path / "whole")
    first = run(PROBLEM, longer.first_cycle, 0, tmp_path / "first")
    before = support_files(tmp_path / "first")
    method = KIP()
    assert method.first_part(longer) == longer.first_cycle and method.first_part(PLAIN) is None
    directories = tmp_path / "first", tmp_path / "longer"
    method.take_over(PROBLEM, longer, 0, *directories)
    went_on = run(PROBLEM, longer, 0, tmp_path / "longer", lambda done, *_: seen.append(done))
    assert seen == list(range(21, 31))
    assert_same_run(tmp_path / "whole", tmp_path / "longer")
    assert_same_result(whole, went_on)
    assert went_on.record["seconds"] > first.record["seconds"]
    assert support_files(tmp_path / "first") == before
    method.take_over(PROBLEM, longer, 0, *directories)  # it has begun: nothing is taken again
    assert_same_run(tmp_path / "whole", tmp_path / "longer")


def test_an_unfinished_run_is_not_taken_over(tmp_path, capsys):
    longer = dataclasses.replace(PLAIN, decay="cosine", restart_at=20)
    with pytest.raises(Killed):
        run(PROBLEM, longer.first_cycle, 0, tmp_path / "first", stop_at(15, Killed))
    for earlier in ("first", "nowhere"):
        KIP().take_over(PROBLEM, longer, 0, tmp_path / earlier, tmp_path / "longer")
        assert not (tmp_path / "longer").exists()
        assert "no finished run of 20 steps with the same options" in capsys.readouterr().err
    other = tmp_path / "other"
    run(PROBLEM, longer.first_cycle, 1, other)
    with pytest.raises(UserError, match="holds another run"):
        KIP().take_over(PROBLEM, longer, 0, other, tmp_path / "longer")


def test_solved_labels_are_the_least_squares_solution_on_all_targets(tmp_path):
    """Normal equations of the ridge predictor, by NumPy, for the images that KIP learned."""
    config = dataclasses.replace(PLAIN, learn_labels=True)
    learned = run(PROBLEM, config, 0, tmp_path / "learned")
    solving = dataclasses.replace(config, final_labels="solve")
    solved = run(PROBLEM, solving, 0, tmp_path / "solved")
    assert solved.images.tobytes() == learned.images.tobytes()
    assert solved.record["budget"]["final_labels"] == "solve"

    kernel = fully_connected_kernel(1, dtype="float64")
    x_t = PROBLEM.transform.apply(PROBLEM.x_target, "float64")
    k_ts, k_ss = np.asarray(kernel(x_t, solved.images)), np.asarray(kernel(solved.images))
    ridge = k_ss + 1e-6 * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss))
    predictor = k_ts @ np.linalg.inv(ridge)
    wanted = np.linalg.lstsq(predictor, PROBLEM.y_target, rcond=None)[0]
    np.testing.assert_allclose(solved.labels, wanted, rtol=0, atol=1e-3)

    def loss(labels):
        return 0.5 * np.mean((predictor @ labels - PROBLEM.y_target) ** 2)

    assert loss(np.float64(solved.labels)) < loss(np.float64(learned.labels))
    assert solved.record["metrics"] != learned.record["metrics"]
    method = KIP()
    kept = checkpoint.load(method.final(tmp_path / "solved", 30)).tensors
    assert kept["labels"].tobytes() == solved.labels.tobytes()
    assert method.final(tmp_path / "learned", 30) == support_path(tmp_path / "learned", 30)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decay": "linear"}, "decay must be cosine or None"),
        ({"final_labels": "argmax"}, "final_labels must be solve or None"),
        ({"decay": "cosine", "patience": 10}, "has no use for patience"),
        ({"final_labels": "solve"}, "is for learned labels"),
        ({"restart_at": 10}, "is for a learning rate that decays"),
        ({"decay": "cosine", "restart_at": 30}, "a step before the last one \\(30\\)"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes, says):
    with pytest.raises(UserError, match=says):
        dataclasses.replace(PLAIN, **changes)
