"""The numba backend called from what JAX traces: `jit`, `grad` and `vmap`."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import convnet

ARCHITECTURE = convnet(1)


def _images(seed, n, shape=(6, 5, 2)):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype("float32")


def _numba(dtype="float32", get="ntk"):
    return network_kernel(ARCHITECTURE, backend="numba", dtype=dtype, get=get)


def _close(found, wanted, rtol):
    assert found.dtype == (np.float64 if rtol < 1e-8 else np.float32)
    assert np.linalg.norm(found - wanted) <= rtol * np.linalg.norm(wanted)


@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_values_and_gradients_are_those_outside(get):
    x1, x2, cotangent = _images(0, 3), _images(1, 5), _images(2, 3, (5,))
    kernel_fn, reference = _numba(get=get), _numba("float64", get)

    def loss(a, b):
        k = kernel_fn(a, b)
        return jnp.vdot(k, cotangent), k

    for transform in (lambda f: f, jax.jit):
        (_, k), (d1, d2) = transform(jax.value_and_grad(loss, (0, 1), has_aux=True))(x1, x2)
        _close(k, reference(x1, x2), 1e-5)
        assert np.array_equal(k, kernel_fn(x1, x2))
        for found, argument in ((d1, 1), (d2, 2)):
            _close(found, reference.vjp(x1, x2, cotangent, argument=argument), 1e-5)
            assert np.array_equal(found, kernel_fn.vjp(x1, x2, cotangent, argument=argument))


def test_the_self_kernel_moves_both_sides():
    x, cotangent = _images(0, 4), _images(1, 4, (4,))
    kernel_fn, reference = _numba(), _numba("float64")
    wanted = reference.vjp(x, None, cotangent)
    for matrix in (kernel_fn, lambda x: kernel_fn(x, x), lambda x: kernel_fn.block(x, x)):
        value, found = jax.jit(jax.value_and_grad(lambda x, m=matrix: jnp.vdot(m(x), cotangent)))(x)
        np.testing.assert_allclose(value, np.vdot(reference(x), cotangent), rtol=1e-5)
        _close(found, wanted, 1e-5)


def test_the_gradient_of_a_whole_loss_is_that_of_the_jax_backend():
    """Kernel ridge regression, with everything around the kernels differentiated by JAX."""
    x, targets, y = _images(0, 4), _images(1, 7), _images(2, 4, (3,))

    def gradient(kernel_fn):
        def loss(x):
            k_ss = kernel_fn(x) + 0.1 * jnp.eye(4)
            return (kernel_fn(targets, jnp.tanh(x)) @ jnp.linalg.solve(k_ss, y)).sum()

        return jax.jit(jax.grad(loss))(x)

    with jax.enable_x64(True):
        x, y = x.astype(float), y.astype(float)
        wanted = gradient(network_kernel(ARCHITECTURE, backend="jax", dtype="float64"))
        _close(gradient(_numba("float64")), wanted, 1e-9)


def test_vmap_over_supports():
    supports, fixed, cotangent = _images(0, 2, (3, 6, 5, 2)), _images(1, 5), _images(2, 3, (5,))
    kernel_fn = _numba()
    wanted = np.stack([kernel_fn.vjp(x, fixed, cotangent) for x in supports])

    def gradient(x):
        return jax.grad(lambda x: jnp.vdot(kernel_fn(x, fixed), cotangent))(x)

    for transform in (lambda f: f, jax.jit):
        values = transform(jax.vmap(kernel_fn, (0, None)))(supports, fixed)
        assert np.array_equal(values, np.stack([kernel_fn(x, fixed) for x in supports]))
        assert np.array_equal(transform(jax.vmap(gradient))(supports), wanted)


def test_only_the_gradients_asked_for_are_computed(monkeypatch):
    from paper_repro.core.kernels import callback

    seen = []

    def counted(kernel, x1, x2, cotangent, get, argument):
        seen.append(argument)
        return np.zeros((x1 if argument == 1 else x2).shape, kernel.dtype)

    monkeypatch.setattr(callback, "kernel_vjp", counted)
    x1, x2, kernel_fn = _images(0, 2), _images(1, 3), _numba()
    jax.block_until_ready(jax.grad(lambda a, b: kernel_fn(a, b).sum(), 1)(x1, x2))
    assert seen == [2]
    jax.block_until_ready(jax.jit(jax.grad(lambda a, b: kernel_fn(a, b).sum()))(x1, x2))
    assert seen == [2, 1]


def test_float64_needs_float64_in_jax():
    x1, x2, kernel_fn = _images(0, 2), _images(1, 3), _numba("float64")
    with pytest.raises(UserError, match="enable_x64"):
        jax.jit(kernel_fn)(x1, x2)
    with jax.enable_x64(True):
        assert np.array_equal(jax.jit(kernel_fn)(x1, x2), kernel_fn(x1, x2))
        assert jax.jit(_numba())(x1, x2).dtype == np.float32


def test_what_a_callback_could_not_compute_is_refused_while_tracing():
    x, kernel_fn = _images(0, 2), _numba()
    with pytest.raises(UserError, match="one shape"):
        jax.jit(kernel_fn)(x, x[:, :4])
    with pytest.raises(UserError, match="does not fit"):
        jax.jit(kernel_fn)(x[:, :1])
    with pytest.raises(UserError, match="choose ntk or nngp"):
        jax.jit(lambda x: kernel_fn(x, x, "both"))(x)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_second_derivatives_and_forward_mode_are_refused(backend):
    x, kernel_fn = _images(0, 2), network_kernel(ARCHITECTURE, backend=backend)

    def total(x):
        return kernel_fn(x).sum()

    twice = jax.grad(lambda x: jax.grad(total)(x).sum())
    for second in (twice, jax.jit(twice)):
        with pytest.raises(UserError, match="second derivatives"):
            second(x)
    for forward in (jax.jacfwd(total), jax.hessian(total)):
        with pytest.raises(TypeError, match="forward-mode"):
            forward(x)


# On one core a callback that waited for JAX, say for its own arguments, would wait for ever, so the
# process has a time to be done in. Images of this size JAX hands around asynchronously.
REALISTIC = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp, numpy as np
from paper_repro.core.kernels.architecture import conv
from paper_repro.core.kernels import network_kernel
kernel_fn = network_kernel(conv(1), backend="numba")
rng = np.random.default_rng(0)
latent, targets = (rng.normal(size=(n, 3072)).astype("float32") for n in (20, 200))
mixing = rng.normal(size=3072).astype("float32")
def images(z):
    return jnp.tanh(z * mixing).reshape(-1, 32, 32, 3)
def loss(z, t):
    k_ss = kernel_fn(images(z)) + 0.1 * jnp.eye(20)
    return (kernel_fn(images(t), images(z)) @ jnp.linalg.inv(k_ss)).sum()
step = jax.jit(jax.value_and_grad(loss, (0, 1)))
for _ in range(20):
    value, gradients = step(latent, targets)
    latent = latent - 1e-9 * gradients[0]
batched = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(jnp.stack([latent] * 3), targets)
assert np.isfinite(batched).all() and np.isfinite(value)
"""


def test_callbacks_on_one_core_with_images_computed_in_the_same_program():
    done = subprocess.run(
        [sys.executable, "-c", REALISTIC], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
