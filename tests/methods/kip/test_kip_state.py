"""One KIP update against automatic differentiation of the loss written out in JAX float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels.dot_product import fully_connected_kernel, rbf
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.kip.config import KIPConfig
from paper_repro.core.methods.kip.state import (
    advance,
    from_tensors,
    initial_state,
    kernel_at,
)
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard
from paper_repro.core.store.pytree import to_tensors

N_CLASSES, SHAPE = 4, (5, 5, 3)
ADAM_B1 = 0.9  # the first moment of the first step is (1 - b1) times the gradient

# Of a whole gradient in the 2-norm: Adam's moments are float32; with a float32 kernel its rounding
# is amplified by the condition number of k_ss, about 100 here.
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


class Setting:
    """A small problem, a state that is not special in any way, and one batch of targets."""

    def __init__(self, kernel, learn_labels=False, diag_reg=1e-6):
        rng = np.random.default_rng(0)
        raw = rng.integers(0, 256, (60, *SHAPE)).astype(np.uint8)
        labels = np.arange(60) % N_CLASSES
        transform = Standard.fit(raw)
        self.kernel = kernel
        self.config = KIPConfig(
            images_per_class=2,
            steps=5,
            target_batch=30,
            learn_labels=learn_labels,
            diag_reg=diag_reg,
        )
        problem = Problem(raw, labels, N_CLASSES, transform)
        state = initial_state(problem, kernel, self.config, seed=0)
        noise = rng.standard_normal(state.y_support.shape)
        self.state = state._replace(y_support=state.y_support + jnp.float32(0.1 * noise))
        # Some targets are supports too, to the bit.
        self.x_target = transform.apply(raw[:30], "float32").astype(np.float64)
        self.y_target = centred_one_hot(labels[:30], N_CLASSES)

    def advance(self, state=None):
        targets = self.kernel.prepare(self.x_target)
        return advance(self.kernel, state or self.state, targets, self.y_target, self.config)

    def naive(self, entries):
        """Loss and gradient of (x_support, y_support, log_parameters), without any shortcut."""

        with jax.enable_x64(True):
            learned = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), self.state[1:4])
            target = jnp.asarray(self.x_target), jnp.asarray(self.y_target)
            value, gradient = naive(entries, learned, target, self.config.diag_reg)
        return float(value), jax.tree.map(np.asarray, gradient)


@functools.partial(jax.jit, static_argnums=0)
def naive(entries, learned, target, diag_reg):
    def loss(learned):
        (x, y, log_parameters), (x_target, y_target) = learned, target
        x, x_target = (a.reshape(len(a), -1) for a in (x, x_target))
        k_ss, k_ts = (entries(a, x, log_parameters) for a in (x, x_target))
        ridge = diag_reg * jnp.trace(k_ss) / len(x) * jnp.eye(len(x))
        residual = k_ts @ jnp.linalg.solve(k_ss + ridge, y) - y_target
        return 0.5 * jnp.mean(residual**2)

    return jax.value_and_grad(loss)(learned)


def fc1(x1, x2, _):
    """The FC1 NTK. Where an image meets itself, theta = 0 and its derivatives drop out."""
    w, b = 2.0, 0.01
    d = x1.shape[1]
    k, k1, k2 = (
        b + w * q / d for q in (x1 @ x2.T, jnp.sum(x1**2, 1)[:, None], jnp.sum(x2**2, 1)[None, :])
    )
    same = jnp.sum((x1[:, None] - x2[None]) ** 2, 2) == 0
    s12 = jnp.sqrt(k1 * k2)
    theta = jnp.arccos(jnp.where(same, 0, k / s12))
    nngp = s12 * (jnp.sin(theta) + (jnp.pi - theta) * jnp.cos(theta)) / (2 * jnp.pi)
    ntk = b + w * nngp + w * k * (jnp.pi - theta) / (2 * jnp.pi)
    return jnp.where(same, b + w * k / 2 + w * k / 2, ntk)


def gaussian(x1, x2, log_parameters):
    squared = jnp.sum((x1[:, None] - x2[None]) ** 2, 2)
    scale = jnp.exp(log_parameters["scale"]) if log_parameters else 0.8
    return jnp.exp(-scale * squared / x1.shape[1])


def relative(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected)
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


CASES = {
    "FC1": (lambda dtype: fully_connected_kernel(1, dtype), fc1),
    "RBF": (lambda dtype: rbf(0.8, dtype=dtype), gaussian),
    "RBF, learned scale": (lambda dtype: rbf(0.8, learn_scale=True, dtype=dtype), gaussian),
}


@pytest.mark.parametrize(
    ("dtype", "learn_labels"), [("float64", False), ("float64", True), ("float32", True)]
)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_an_update_is_that_of_the_loss(case, learn_labels, dtype):
    make, entries = CASES[case]
    # A large ridge too: its dependence on the trace of k_ss is a visible part of the gradient.
    for diag_reg in (1e-6, 0.5):
        setting = Setting(make(dtype), learn_labels, diag_reg)
        after, loss = setting.advance()
        expected_loss, (dx, dy, d_log) = setting.naive(entries)
        assert loss == pytest.approx(expected_loss, rel=TOLERANCE[dtype])
        mu = after.optimizer[0].mu
        found_x, found_y, found_log = jax.tree.map(lambda m: np.asarray(m) / (1 - ADAM_B1), mu)
        assert relative(found_x, dx) < TOLERANCE[dtype]
        if learn_labels:
            assert relative(found_y, dy) < TOLERANCE[dtype]
        else:
            assert not found_y.any()
        assert found_log.keys() == d_log.keys()
        for name, gradient in d_log.items():
            assert found_log[name] == pytest.approx(float(gradient), rel=TOLERANCE[dtype])


@pytest.mark.parametrize("learn_labels", [False, True])
def test_updates_are_those_of_adam_on_what_is_learned(learn_labels):
    setting = Setting(rbf(0.8, learn_scale=True), learn_labels)
    adam = optax.adam(setting.config.learning_rate)
    before, moments = setting.state, adam.init(setting.state[1:4])
    for step in range(3):
        after, _ = setting.advance(before)
        assert after.step == step + 1
        # The gradient, from two consecutive first moments.
        old, new = before.optimizer[0].mu, after.optimizer[0].mu
        gradient = jax.tree.map(lambda n, o: (n - ADAM_B1 * o) / (1 - ADAM_B1), new, old)
        updates, moments = adam.update(gradient, moments)
        expected = optax.apply_updates(before[1:4], updates)
        for found, want in zip(jax.tree.leaves(after[1:4]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)
        assert np.array_equal(after.y_support, before.y_support) != learn_labels
        assert not np.array_equal(after.x_support, before.x_support)
        assert after.log_parameters["scale"] != before.log_parameters["scale"]
        before = after


def test_updates_lower_the_loss():
    setting = Setting(fully_connected_kernel(1), learn_labels=True)
    state, losses = setting.state, []
    for _ in range(40):
        state, loss = setting.advance(state)
        losses.append(loss)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_is_float32_whatever_the_kernel(dtype):
    after, loss = Setting(rbf(learn_scale=True, dtype=dtype), learn_labels=True).advance()
    assert isinstance(loss, float)
    assert isinstance(after.step, int)
    for leaf in jax.tree.leaves(after[1:4]):
        assert leaf.dtype == np.float32


def test_learned_parameters_stay_positive_and_reach_the_kernel():
    setting = Setting(rbf(0.8, learn_scale=True))
    assert kernel_at(setting.kernel, setting.state).parameters["scale"] == pytest.approx(0.8)
    after, _ = setting.advance()
    moved = kernel_at(setting.kernel, after)
    expected = np.exp(np.float64(after.log_parameters["scale"]))
    assert moved.parameters["scale"] == pytest.approx(expected, rel=1e-6)
    assert setting.kernel.parameters["scale"] == 0.8
    fixed = Setting(rbf(0.8))
    assert kernel_at(fixed.kernel, fixed.state) is fixed.kernel


def test_a_support_that_is_not_finite_has_diverged():
    setting = Setting(fully_connected_kernel(1))
    damaged = setting.state._replace(x_support=setting.state.x_support.at[0, 0, 0, 0].set(np.nan))
    with pytest.raises(Diverged, match="step 0"):
        setting.advance(damaged)


@pytest.mark.parametrize("make", [fully_connected_kernel, rbf], ids=["FC1", "learned scale"])
def test_tensors_hold_every_bit_of_a_state(make):
    kernel = make(1) if make is fully_connected_kernel else rbf(0.8, learn_scale=True)
    setting = Setting(kernel, learn_labels=True)
    state, _ = setting.advance()
    tensors = to_tensors(state)
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())
    again = from_tensors(tensors, setting.state)
    assert again.step == 1
    assert isinstance(again.step, int)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for found, want in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert np.shape(found) == np.shape(want)
        assert np.asarray(found).tobytes() == np.asarray(want).tobytes()
    # And the next update from either is the same.
    for found, want in zip(
        jax.tree.leaves(setting.advance(again)),
        jax.tree.leaves(setting.advance(state)),
        strict=True,
    ):
        assert np.array_equal(found, want)


def test_tensors_of_another_run_are_refused():
    setting = Setting(rbf(0.8, learn_scale=True))
    tensors = to_tensors(setting.state)
    smaller = {name: t[:3] if t.ndim == 4 else t for name, t in tensors.items()}
    missing = dict(list(tensors.items())[:-1])
    fixed = to_tensors(Setting(rbf(0.8)).state)
    for other in (smaller, missing, fixed, {**tensors, "extra": np.zeros(1)}):
        with pytest.raises(UserError, match="another kind of run"):
            from_tensors(other, setting.state)
