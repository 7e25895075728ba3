"""The jax backend inside `jit` and under `grad`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.kernels import architecture as arch
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.jax_backend.tiles import default_pairs, tile_shape
from paper_repro.core.kernels.plan import plan


def test_jit_and_grad_with_respect_to_both_arguments():
    rng = np.random.default_rng(0)
    x1, x2 = (rng.normal(size=(n, 6, 5, 2)).astype("float32") for n in (3, 5))
    cotangent = rng.normal(size=(3, 5)).astype("float32")
    kernel_fn = network_kernel(arch.convnet(1), backend="jax", tile_pairs=4)
    reference = network_kernel(arch.convnet(1), backend="numba", dtype="float64")

    @jax.jit
    def loss(a, b):
        return jnp.vdot(kernel_fn(a, b), cotangent)

    value, (d1, d2) = jax.value_and_grad(loss, argnums=(0, 1))(x1, x2)
    np.testing.assert_allclose(value, np.vdot(reference(x1, x2), cotangent), rtol=1e-5)
    for found, argument in ((d1, 1), (d2, 2)):
        wanted = reference.vjp(x1, x2, cotangent, argument=argument)
        assert np.linalg.norm(found - wanted) <= 1e-5 * np.linalg.norm(wanted)
    with jax.enable_x64(True):
        kernel_fn = network_kernel(arch.convnet(1), backend="jax", dtype="float64")
        k = jax.jit(kernel_fn)(jnp.asarray(x1, "float64"), jnp.asarray(x2, "float64"))
        np.testing.assert_allclose(k, reference(x1, x2), rtol=1e-11)


def test_fully_connected_kernels_and_closed_over_images_are_traced():
    rng = np.random.default_rng(1)
    x, fixed = (rng.normal(size=(n, 6, 5, 2)).astype("float32") for n in (3, 4))
    for name in ("fc2", "conv-1"):
        kernel_fn = network_kernel(name, backend="jax")
        reference = network_kernel(name, backend="jax", dtype="float64")
        wanted = reference(x, fixed) @ np.asarray(reference(fixed))
        found = jax.jit(lambda x, k=kernel_fn: k(x, fixed) @ k(fixed))(x)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
        gradient = jax.grad(lambda x, k=kernel_fn: k(x, fixed).sum())(x)
        pulled = reference.vjp(x, fixed, np.ones((3, 4)))
        assert np.linalg.norm(gradient - pulled) <= 1e-4 * np.linalg.norm(pulled)


def test_vmap_over_supports():
    rng = np.random.default_rng(2)
    supports, fixed = (rng.normal(size=(n, 3, 6, 5, 2)).astype("float32") for n in (2, 1))
    for name in (arch.convnet(1), "fc2"):
        kernel_fn = network_kernel(name, backend="jax")

        def gradient(x, kernel_fn=kernel_fn):
            return jax.grad(lambda x: kernel_fn(x, fixed[0]).sum())(x)

        found = jax.jit(jax.vmap(gradient))(supports)
        for row, x in zip(found, supports, strict=True):
            wanted = kernel_fn.vjp(x, fixed[0], np.ones((3, 3)))
            assert np.linalg.norm(row - wanted) <= 1e-5 * np.linalg.norm(wanted)


@pytest.mark.parametrize(
    ("backend", "architecture"),
    [("jax", arch.convnet(1)), ("numba", arch.convnet(1)), ("jax", arch.fully_connected(2))],
)
def test_prepared_images_are_arguments_of_a_compiled_function(backend, architecture):
    rng = np.random.default_rng(3)
    x1, x2 = (rng.normal(size=(n, 6, 5, 2)).astype("float32") for n in (3, 5))
    kernel_fn = network_kernel(architecture, backend=backend)
    targets = kernel_fn.prepare(x2)
    value_and_grad = jax.jit(jax.value_and_grad(lambda x, t: kernel_fn(x, t).sum()))
    value, gradient = value_and_grad(x1, targets)
    np.testing.assert_allclose(value, kernel_fn(x1, x2).sum(), rtol=1e-5)
    wanted = kernel_fn.vjp(x1, x2, np.ones((3, 5)))
    assert np.linalg.norm(gradient - wanted) <= 1e-5 * np.linalg.norm(wanted)
    # The features are used where the kernel made them, and there alone; a callback has no need to.
    other = dataclasses.replace(targets, features=(targets.features[0] * 2,))
    assert np.isclose(value_and_grad(x1, other)[0], value, rtol=1e-5) == (backend == "numba")
    foreign = dataclasses.replace(other, made_by="another kernel")
    np.testing.assert_allclose(value_and_grad(x1, foreign)[0], value, rtol=1e-5)


@pytest.mark.parametrize("shape", [(10, 5_000), (10, 10_000), (100, 5_000), (1, 1), (17, 3)])
def test_tiles_are_filled(shape):
    tile = tile_shape(*shape, 4096)
    computed = [-(-n // size) * size for n, size in zip(shape, tile, strict=True)]
    assert np.prod(tile) <= 4096 and np.prod(computed) <= 1.05 * np.prod(shape)


def test_tiles_on_accelerators_follow_what_the_plan_carries(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def pairs(architecture, size=32, dtype="float32"):
        return default_pairs(plan(architecture, (size, size, 3)), np.dtype(dtype))

    assert pairs(arch.convnet()) == pairs(arch.conv(8)) == 4096
    assert pairs(arch.convnet(), dtype="float64") == 2**29 // (2 * 8 * (49 * 256 + 9 * 64 + 16))
    # All offsets at 16x16, at 8x8, and at the global average of 8x8.
    carried = 31**2 * 256 + 2 * 15**2 * 64
    assert pairs(arch.myrtle(10)) == 2**29 // (2 * 4 * carried)
    assert pairs(arch.myrtle(5), 512) == 1
