"""Where patches of two images coincide the ReLU kernel has a kink: values, gradients, no NaN."""

import kernel_oracle as oracle
import numpy as np
import pytest

from paper_repro.core.kernels import network_kernel

SHAPE = (10, 9, 1)


def _digits(n, seed=0):
    """Bright strokes on a flat background, as MNIST and Fashion-MNIST after standardisation."""
    rng = np.random.default_rng(seed)
    x = np.full((n, *SHAPE), -0.4)
    for image in x:
        row, column = rng.integers(2, 6, 2)
        image[row : row + 3, column, 0] = rng.uniform(1, 2.5, 3)
    return x


def _cases():
    digits, noise = _digits(3), oracle.images(3, SHAPE)
    return {
        "backgrounds": (digits, _digits(3, seed=1)),
        "duplicates": (noise, noise[[0, 0, 1]]),
        "constant": (np.full((3, *SHAPE), 0.7), np.stack([np.full(SHAPE, 0.7), *noise[:2]])),
        "zero": (np.zeros((3, *SHAPE)), np.stack([np.zeros(SHAPE), *noise[:2]])),
        "nearly equal": (noise, noise * (1 + 1e-7)),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", _cases())
@pytest.mark.parametrize("name", ["convnet", "myrtle-5"])
def test_values_and_finite_gradients(name, case, dtype):
    x1, x2 = _cases()[case]
    kernel_fn = network_kernel(name, backend="numba", dtype=dtype)
    found = kernel_fn.block(x1, x2)
    wanted = oracle.kernel(name, "ntk").block(x1.astype(dtype), x2.astype(dtype))
    assert oracle.relative(found, wanted) <= oracle.COINCIDENT[dtype]
    assert np.isfinite(kernel_fn.block_vjp(x1, x2, np.ones((3, 3)))).all()


@pytest.mark.parametrize("backend", ["numba", "jax"])
@pytest.mark.parametrize("case", ["backgrounds", "duplicates", "constant", "zero"])
def test_gradient_is_the_central_difference(case, backend):
    """The kink is even in the perturbation, so central differences see the smooth part alone."""
    x1, x2 = _cases()[case]
    x1, x2 = x1[:1], x2[:1]
    kernel_fn = network_kernel("convnet", backend=backend, dtype="float64")
    gradient = np.asarray(kernel_fn.block_vjp(x1, x2, np.ones((1, 1))))
    rng = np.random.default_rng(3)
    for _ in range(3):
        step = 1e-5 * rng.normal(size=x1.shape)
        ahead, behind = kernel_fn.block(x1 + step, x2), kernel_fn.block(x1 - step, x2)
        difference = float((ahead - behind)[0, 0]) / 2
        scale = np.linalg.norm(gradient) * np.linalg.norm(step)
        assert abs(difference - np.vdot(gradient, step)) <= 2e-4 * scale + 1e-12


def test_diagonal_of_the_self_kernel_is_smooth():
    """k(x, x) has no kink in x: both arguments move, and the gradient is the whole derivative."""
    x = _digits(2)
    kernel_fn = network_kernel("convnet", backend="numba", dtype="float64")
    gradient = kernel_fn.vjp(x, None, np.eye(2))
    step = 1e-6 * np.random.default_rng(3).normal(size=x.shape)
    ahead, behind = (np.trace(kernel_fn.block(x + s, x + s)) for s in (step, -step))
    assert np.isclose((ahead - behind) / 2, np.vdot(gradient, step), rtol=1e-6)


def test_no_bias_and_an_all_zero_image():
    """Zero variances, which a bias excludes, give zero and not NaN."""
    import dataclasses

    from paper_repro.core.kernels.architecture import convnet

    architecture = dataclasses.replace(convnet(2), b_std=0.0)
    x = np.stack([np.zeros(SHAPE), *oracle.images(2, SHAPE)])
    kernel_fn = network_kernel(architecture, backend="numba", dtype="float64")
    k = kernel_fn(x)
    assert np.array_equal(k[0], np.zeros(3))
    assert (k[1:, 1:] > 0).all()
    assert np.isfinite(kernel_fn.vjp(x, None, np.ones((3, 3)))).all()
