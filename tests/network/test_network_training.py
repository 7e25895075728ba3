"""Losses and augmentation against NumPy, resumed training, the ConvNet against its kernel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import convnet, fully_connected
from paper_repro.core.network import (
    Network,
    TrainingConfig,
    compilation,
    learning_rate,
    train,
    training,
)
from paper_repro.core.network.grid import training_of
from paper_repro.core.network.learning_rate import empirical_ntk, maximum_learning_rate
from paper_repro.core.network.losses import centred_prediction, loss_value
from paper_repro.core.network.settings import Settings
from paper_repro.core.network.support_augmentation import SupportAugmentation
from paper_repro.core.store import checkpoint

RNG = np.random.default_rng(0)
F, Y = RNG.standard_normal((2, 7, 5)).astype(np.float32)


def softmax(f):
    powers = np.exp(f - f.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_losses_are_those_of_numpy():
    f, y = F.astype(np.float64), Y.astype(np.float64)
    assert float(loss_value("mse", F, Y)) == pytest.approx(0.5 * np.mean((f - y) ** 2), rel=1e-6)
    likelihood = softmax(f)[np.arange(7), y.argmax(1)]
    assert float(loss_value("xent", F, Y)) == pytest.approx(-np.log(likelihood).mean(), rel=1e-6)


def test_predictions_are_on_the_scale_of_centred_labels():
    np.testing.assert_array_equal(centred_prediction("mse", F, 4.0), F / 4)
    found = centred_prediction("xent", F, 4.0)
    np.testing.assert_allclose(found, softmax(F) - 0.2, atol=1e-6)


def test_unknown_losses_and_empty_trainings_are_refused():
    with pytest.raises(UserError, match="unknown loss 'hinge': choose one of mse, xent"):
        TrainingConfig(loss="hinge")
    with pytest.raises(UserError, match="at least one step"):
        TrainingConfig(steps=0)
    with pytest.raises(UserError, match="must not be negative"):
        SupportAugmentation(shift=-1)


# Augmentation


def test_every_augmented_image_is_a_shifted_and_maybe_mirrored_one():
    x = RNG.standard_normal((40, 6, 5, 3)).astype(np.float32)
    found = np.asarray(SupportAugmentation(shift=2).apply(x, jax.random.key(0)))
    drawn = set()
    for image, changed in zip(x, found, strict=True):
        matches = []
        for mirrored in (False, True):
            padded = np.pad(
                image[:, ::-1] if mirrored else image, ((2, 2), (2, 2), (0, 0)), mode="edge"
            )
            for i in range(5):
                for j in range(5):
                    if np.array_equal(padded[i : i + 6, j : j + 5], changed):
                        matches.append((mirrored, i, j))
        assert len(matches) == 1
        drawn.add(matches[0])
    assert {mirrored for mirrored, _, _ in drawn} == {False, True}
    assert {i for _, i, _ in drawn} == {j for _, _, j in drawn} == set(range(5))


def test_no_range_is_no_change_and_grey_images_are_not_mirrored():
    x = jnp.asarray(RNG.standard_normal((9, 4, 4, 1)), jnp.float32)
    same = SupportAugmentation(shift=0).apply(x, jax.random.key(1))
    np.testing.assert_array_equal(same, x)
    rgb = jnp.concatenate([x, x, x], -1)
    same = SupportAugmentation(shift=0, flip=False).apply(rgb, jax.random.key(1))
    np.testing.assert_array_equal(same, rgb)


# Training


@pytest.mark.parametrize(
    ("architecture", "optimizer"),
    [(fully_connected(1), "sgd"), (convnet(1), "sgd"), (convnet(1), "adam")],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_interrupted_training_ends_in_the_same_bits(
    architecture, optimizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "CHUNK", 4)
    monkeypatch.setattr(training, "CONVOLUTIONAL_CHUNK", 4)
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    x = RNG.standard_normal((9, 4, 4, 3)).astype(np.float32)
    y = RNG.standard_normal((9, 3)).astype(np.float32)
    config = TrainingConfig(
        steps=10, batch=4, loss="xent", augmentation=SupportAugmentation(1), l2=0.01
    )
    if optimizer == "adam":
        config = dataclasses.replace(config, optimizer="adam", learning_rate=0.01)
    network, key = Network(architecture, 3, 3), jax.random.key(0)

    def run(directory, progress=None):
        return train(
            *(network, x, y, config, key),
            bound=0.1,
            directory=directory,
            progress=progress,
        )

    def stop(step, loss):
        # The state of step 8 is not saved: it is trained again.
        if step == 8:
            raise KeyboardInterrupt

    expected = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop)
    seen = []
    resumed = run(tmp_path, lambda step, loss: seen.append(step))
    assert seen == [8, 10]
    again = run(tmp_path, lambda step, loss: seen.append(step))
    assert seen == [8, 10]
    for found in (resumed, again):
        assert found.loss == expected.loss
        assert jax.tree.all(jax.tree.map(np.array_equal, found.parameters, expected.parameters))


def test_adam_with_a_cosine_is_that_of_its_paper():
    # arXiv 1412.6980, algorithm 1, in float64; the gradient is JAX's.
    x = RNG.standard_normal((6, 4, 4, 1)).astype(np.float32)
    y = RNG.standard_normal((6, 3)).astype(np.float32)
    network, key = Network(fully_connected(1), 5, 3), jax.random.key(2)
    config = TrainingConfig(steps=7, l2=0.02, optimizer="adam", learning_rate=0.05)
    found = train(network, x, y, config, key)
    assert found.learning_rate == 0.05
    parameters = network.init(jax.random.split(key)[0], x.shape[1:])
    leaves, tree = jax.tree.flatten(parameters)
    theta = [np.asarray(leaf, np.float64) for leaf in leaves]
    m, v = ([np.zeros_like(leaf) for leaf in theta] for _ in range(2))

    def objective(parameters):
        penalty = sum((leaf**2).sum() for leaf in jax.tree.leaves(parameters))
        loss = 0.5 * ((network.apply(parameters, x) - y) ** 2).mean()
        return loss + 0.5 * 0.02 * penalty

    for t in range(7):
        as_float32 = [jnp.asarray(leaf, jnp.float32) for leaf in theta]
        gradients = jax.tree.leaves(jax.grad(objective)(jax.tree.unflatten(tree, as_float32)))
        rate = 0.05 * 0.5 * (1 + np.cos(np.pi * t / 7))
        for i, gradient in enumerate(np.asarray(g, np.float64) for g in gradients):
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            step = m[i] / (1 - 0.9 ** (t + 1))
            theta[i] -= rate * step / (np.sqrt(v[i] / (1 - 0.999 ** (t + 1))) + 1e-8)
    for ours, theirs in zip(jax.tree.leaves(found.parameters), theta, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_adam_needs_a_rate_and_a_rate_needs_no_bound():
    with pytest.raises(UserError, match="adam needs a learning_rate"):
        TrainingConfig(optimizer="adam")
    with pytest.raises(UserError, match="unknown optimizer 'lion': choose one of sgd, adam"):
        TrainingConfig(optimizer="lion", learning_rate=0.1)
    x, y = RNG.standard_normal((4, 4, 4, 1)).astype(np.float32), np.eye(4, 3, dtype=np.float32)
    network, key = Network(fully_connected(1), 4, 3), jax.random.key(0)
    bound = training.initial_bound(network, x.shape[1:], key, x)
    by_rate = train(network, x, y, TrainingConfig(steps=3, learning_rate=0.5 * bound), key)
    by_share = train(
        network, x, y, TrainingConfig(steps=3, learning_rate_factor=0.5), key, bound=bound
    )
    assert by_rate.loss == pytest.approx(by_share.loss, rel=1e-6)


def test_a_grid_of_rates_tries_each_and_fields_with_old_values_leave_no_trace():
    old = Settings(width=4, steps=2, l2=(0.1,), label_scale=(1.0, 4.0))
    assert old.recorded.keys().isdisjoint({"optimizer", "learning_rate"})
    assert [point["learning_rate_factor"] for point in old.points] == [1.0, 1.0]
    assert TrainingConfig().settings.keys().isdisjoint({"optimizer", "learning_rate"})
    new = dataclasses.replace(old, optimizer="adam", learning_rate=(0.1, 0.2))
    assert new.recorded["learning_rate"] == (0.1, 0.2)
    assert [(p["learning_rate"], p["label_scale"]) for p in new.points] == [
        *((0.1, 1.0), (0.1, 4.0)),
        *((0.2, 1.0), (0.2, 4.0)),
    ]
    trained = training_of(new, new.points[2])
    assert (trained.optimizer, trained.learning_rate) == ("adam", 0.2)


def test_the_state_of_another_run_is_refused_and_left_alone(tmp_path):
    x, y = np.ones((4, 4, 4, 1), np.float32), np.eye(4, 3, dtype=np.float32)
    network, key = Network(fully_connected(1), 4, 3), jax.random.key(0)
    call = {"network": network, "x_support": x, "y_support": y, "config": TrainingConfig(steps=2)}
    call |= {"key": key, "bound": 0.1}
    train(**call, directory=tmp_path)
    changes = {
        "x_support": 2 * x,
        "y_support": -y,
        "config": TrainingConfig(steps=2, l2=0.5),
        "key": jax.random.key(1),
        "bound": 0.2,
        "network": dataclasses.replace(network, width=5),
    }
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, value in changes.items():
        with pytest.raises(UserError, match="holds another run"):
            train(**{**call, name: value}, directory=tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, name
    with pytest.raises(UserError, match="give images as x_calibration"):
        train(network, x, y, TrainingConfig(steps=2), key)


def test_a_network_stays_in_float32_where_jax_defaults_to_float64():
    x, y = np.ones((4, 4, 4, 1), np.float32), np.eye(4, 3, dtype=np.float32)
    config, key = TrainingConfig(steps=2), jax.random.key(0)
    network = Network(convnet(1), 4, 3)
    expected = train(network, x, y, config, key, bound=0.1)
    with jax.enable_x64(True):
        found = train(network, x, y, config, key, bound=0.1)
    leaves = (jax.tree.leaves(trained.parameters) for trained in (found, expected))
    for a, b in zip(*leaves, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_both_ways_to_the_maximum_learning_rate_agree(monkeypatch):
    network, x = Network(convnet(1), 6, 4), RNG.standard_normal((5, 4, 4, 3)).astype(np.float32)
    parameters = network.init(jax.random.key(0), (4, 4, 3))
    by_rows = maximum_learning_rate(network, parameters, x)
    monkeypatch.setattr(learning_rate, "JACOBIAN_BYTES", 0)
    assert maximum_learning_rate(network, parameters, x) == pytest.approx(by_rows, rel=1e-5)


# Infinite width


def test_wide_convnets_approach_the_kernel_by_their_empirical_ntk():
    shape, n = (5, 4, 2), 24
    x = jnp.asarray(RNG.standard_normal((3, *shape)), jnp.float32)
    k = np.asarray(network_kernel(convnet(1), backend="numba", dtype="float64", get="ntk")(x))
    deviations = []
    for width in (24, 96):
        network = Network(convnet(1), width, 3, "ntk")
        # As one program: op by op, each call would trace and compile its loop anew.
        ntk = jax.jit(
            lambda key, network=network: empirical_ntk(network, network.init(key, shape), x)
        )
        samples = [ntk(jax.random.key(i)) for i in range(n)]
        samples = np.asarray(samples, np.float64)
        error = samples.std(0, ddof=1) / n**0.5
        # At a finite width the mean is off by O(1 / width) of the kernel.
        assert np.all(np.abs(samples.mean(0) - k) < 5 * error + k.max() / width)
        deviations.append(np.sqrt(np.mean((samples - k) ** 2)))
    # 1 / sqrt(width): half at four times the width; the ratio is known to a third or so.
    assert 1.3 < deviations[0] / deviations[1] < 3
    assert deviations[1] < 0.2 * k.max()


# The benchmark of the trainer


def test_the_benchmark_times_updates_and_names_what_it_needs(capsys, monkeypatch):
    import json
    import sys

    from paper_repro.benchmark.transfer import transfer

    transfer(width=2, batch=3, side=8, channels=1, steps=1, repeats=1, peer=False, json=True)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["images_per_s"] == pytest.approx(3e3 / row["ms_per_step"])
    assert (row["shape"], row["backend"]) == ("8x8x1", jax.default_backend())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="`make torch` adds it"):
        transfer(width=2, batch=3, side=8)
    with pytest.raises(UserError, match="multiple of 8"):
        transfer(side=12)


# Compilation


def test_compiled_programs_run_on_another_jaxlib(monkeypatch):
    monkeypatch.setattr(compilation, "_CPU_OPTIONS", {"xla_cpu_an_option_of_the_future": ""})
    compilation._options.cache_clear()
    try:
        assert float(compilation.compiled(lambda x: x + 1)(1.0)) == 2.0
        assert compilation._options() is None
    finally:
        compilation._options.cache_clear()


def test_every_option_of_the_pinned_jaxlib_is_known():
    assert jax.default_backend() != "cpu" or compilation._options() == compilation._CPU_OPTIONS
