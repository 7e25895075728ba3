"""Kernel ridge regression against numpy.linalg, finite differences and automatic differentiation.

Tolerances: 1e-10 between two float64 solves of well-conditioned systems, 1e-7 for a directional
derivative by central differences at a step of 1e-5.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.dot_product import fully_connected_kernel
from paper_repro.core.krr import factorise, loss_and_gradient, predict, score
from paper_repro.core.labels import centred_one_hot

N_SUPPORT, N_TARGET, N_CLASSES = 7, 11, 4
REGS = [1e-6, 0.3]


class Problem:
    def __init__(self):
        rng = np.random.default_rng(0)
        root = rng.standard_normal((N_SUPPORT, 2 * N_SUPPORT))
        self.k_ss = root @ root.T / N_SUPPORT
        self.k_ts = rng.standard_normal((N_TARGET, N_SUPPORT))
        self.y_t = centred_one_hot(rng.integers(0, N_CLASSES, N_TARGET), N_CLASSES)
        self.y_s = rng.standard_normal((N_SUPPORT, N_CLASSES))
        self.rng = rng


@pytest.fixture
def problem():
    return Problem()


def naive_loss(k_ts, k_ss, y_t, y_s, diag_reg, xp=np):
    ridge = diag_reg * xp.trace(k_ss) / len(k_ss) * xp.eye(len(k_ss))
    residual = k_ts @ xp.linalg.solve(k_ss + ridge, y_s) - y_t
    return 0.5 * xp.mean(residual**2)


@pytest.mark.parametrize("diag_reg", REGS)
def test_predictions_equal_those_of_numpy(problem, diag_reg):
    p = problem
    ridge = diag_reg * np.trace(p.k_ss) / N_SUPPORT * np.eye(N_SUPPORT)
    expected = p.k_ts @ np.linalg.solve(p.k_ss + ridge, p.y_s)
    found = predict(p.k_ts, p.k_ss, p.y_s, diag_reg)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_float32_kernels_are_solved_in_float64(problem):
    p = problem
    k_ts, k_ss = p.k_ts.astype(np.float32), p.k_ss.astype(np.float32)
    expected = predict(k_ts.astype(np.float64), k_ss.astype(np.float64), p.y_s)
    assert np.array_equal(predict(k_ts, k_ss, p.y_s), expected)
    assert np.array_equal(predict(jnp.asarray(k_ts), jnp.asarray(k_ss), p.y_s), expected)


def test_the_arguments_are_left_as_they_were(problem):
    p = problem
    before = [a.copy() for a in (p.k_ts, p.k_ss, p.y_t, p.y_s)]
    loss_and_gradient(p.k_ts, p.k_ss, p.y_t, p.y_s, 0.3)
    for array, kept in zip((p.k_ts, p.k_ss, p.y_t, p.y_s), before, strict=True):
        assert np.array_equal(array, kept)


@pytest.mark.parametrize("diag_reg", REGS)
def test_the_loss_is_that_of_the_predictions(problem, diag_reg):
    p = problem
    loss = loss_and_gradient(p.k_ts, p.k_ss, p.y_t, p.y_s, diag_reg).loss
    assert loss == pytest.approx(naive_loss(p.k_ts, p.k_ss, p.y_t, p.y_s, diag_reg), rel=1e-10)
    scored = score(predict(p.k_ts, p.k_ss, p.y_s, diag_reg), p.y_t)
    assert loss == pytest.approx(scored.mse, rel=1e-12)


@pytest.mark.parametrize("diag_reg", REGS)
@pytest.mark.parametrize("name", ["k_ts", "k_ss", "y_s"])
def test_the_gradient_is_that_of_finite_differences(problem, name, diag_reg):
    p, step = problem, 1e-5
    gradient = getattr(loss_and_gradient(p.k_ts, p.k_ss, p.y_t, p.y_s, diag_reg), name)
    arguments = {"k_ts": p.k_ts, "k_ss": p.k_ss, "y_t": p.y_t, "y_s": p.y_s}
    assert gradient.shape == arguments[name].shape
    for _ in range(5):
        direction = p.rng.standard_normal(gradient.shape)
        if name == "k_ss":
            direction = direction + direction.T
        ends = [
            loss_and_gradient(
                **{**arguments, name: arguments[name] + sign * step * direction},
                diag_reg=diag_reg,
            ).loss
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("diag_reg", REGS)
def test_the_gradient_is_that_of_automatic_differentiation(problem, diag_reg):
    p = problem
    found = loss_and_gradient(p.k_ts, p.k_ss, p.y_t, p.y_s, diag_reg)
    with jax.enable_x64(True):
        arguments = [jnp.asarray(a) for a in (p.k_ts, p.k_ss, p.y_t, p.y_s)]
        gradient = jax.grad(naive_loss, (0, 1, 3))(*arguments, diag_reg, jnp)
    k_ts, k_ss, y_s = (np.asarray(g) for g in gradient)
    np.testing.assert_allclose(found.k_ts, k_ts, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.y_s, y_s, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.k_ss, (k_ss + k_ss.T) / 2, rtol=0, atol=1e-10)
    assert np.array_equal(found.k_ss, found.k_ss.T)


def test_the_ridge_follows_the_trace(problem):
    # Scaling every kernel by one factor changes neither predictions nor loss, so the gradient
    # along that direction is zero: it is not if the ridge is taken for a constant.
    p, diag_reg = problem, 0.3
    np.testing.assert_allclose(
        predict(5 * p.k_ts, 5 * p.k_ss, p.y_s, diag_reg),
        predict(p.k_ts, p.k_ss, p.y_s, diag_reg),
        rtol=0,
        atol=1e-10,
    )
    found = loss_and_gradient(p.k_ts, p.k_ss, p.y_t, p.y_s, diag_reg)
    along = np.sum(found.k_ss * p.k_ss) + np.sum(found.k_ts * p.k_ts)
    assert abs(along) < 1e-12


def test_predicting_nothing_costs_0_045_for_ten_classes():
    y = centred_one_hot(np.arange(50) % 10, 10)
    found = score(np.zeros((50, 10)), y)
    assert found.mse == pytest.approx(0.045, rel=1e-12)
    assert found.n == 50
    zero_labels = loss_and_gradient(np.ones((50, 3)), np.eye(3), y, np.zeros((3, 10)))
    assert zero_labels.loss == pytest.approx(0.045, rel=1e-12)


def test_the_score_counts_the_largest_prediction():
    y = centred_one_hot([0, 1, 2, 2], 3)
    predictions = np.array([[5.0, 1, 1], [0, 1, 2], [-3, -2, -1], [0.1, 0, 0.2]])
    found = score(predictions, y)
    assert found.accuracy == 0.75
    assert found.mse == pytest.approx(0.5 * np.mean((predictions - y) ** 2), rel=1e-12)
    with pytest.raises(UserError, match="do not match labels"):
        score(predictions[:3], y)


def test_a_support_kernel_that_cannot_be_solved_is_refused(problem):
    with pytest.raises(UserError, match=r"not positive definite at diag_reg=1e-06.*raise diag_reg"):
        factorise(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(UserError, match="NaN or infinite"):
        factorise(np.full((3, 3), np.nan))
    for shape in ((2, 3), (4,)):
        with pytest.raises(UserError, match="must be square"):
            factorise(np.ones(shape))


def test_duplicated_images_are_solved_with_the_ridge():
    k_ss = np.ones((2, 2))
    np.testing.assert_allclose(
        predict(np.ones((1, 2)), k_ss, np.array([[1.0], [3.0]])), [[2.0]], rtol=1e-5
    )


def points_on_a_line(dtype, get="nngp"):
    """k_ts, k_ss and labels of 257 and 100 points of one dimension, nearly a singular system."""
    kernel_fn = fully_connected_kernel(2, dtype, get, w_std=1.5, b_std=0.05)
    x, targets = (np.linspace(-10 * np.pi, 10 * np.pi, n)[:, None] for n in (100, 257))
    return kernel_fn(targets, x), kernel_fn(x), np.sin(x)


def test_a_float32_system_that_is_too_badly_conditioned_is_warned_of():
    k_ts, k_ss, y_s = points_on_a_line("float32")
    with pytest.warns(UserWarning, match="float64") as seen:
        single = predict(k_ts, k_ss, y_s, 1e-4)
    assert len(seen) == 1
    with pytest.warns(UserWarning, match="raise diag_reg"):
        loss_and_gradient(k_ts, k_ss, np.zeros((257, 1)), y_s, 1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What is said has a reason, and float64 none to say it.
        exact = predict(*points_on_a_line("float64"), 1e-4)
        assert np.max(np.abs(single - exact)) > 0.05
        # A large ridge, and images in as many dimensions as there are, are well conditioned.
        predict(k_ts, k_ss, y_s, 1.0)
        x = np.random.default_rng(0).normal(size=(300, 8, 8, 3))
        k_ss = fully_connected_kernel(2)(x)
        predict(k_ss[200:, :200], k_ss[:200, :200], x[:200, 0, 0])


def test_the_warning_is_said_once():
    k_ts, k_ss, y_s = points_on_a_line("float32")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for diag_reg in (1e-4, 1e-3, 1e-4):
            predict(k_ts, k_ss, y_s, diag_reg)
    assert len(seen) == 1
