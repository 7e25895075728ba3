"""The CUDA sources built by the C++ compiler of this machine, against the float64 oracle."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import kernel_oracle as oracle
import numpy as np
import pytest
from cuda_host import HostDevice, compiler

from paper_repro.core.kernels import factory, network_kernel
from paper_repro.core.kernels.architecture import conv, convnet, convnet3, from_name
from paper_repro.core.kernels.cuda_backend import kernel as cuda_kernel
from paper_repro.core.kernels.cuda_backend.kernel import CudaKernel
from paper_repro.core.kernels.cuda_backend.source import refusal
from paper_repro.core.kernels.jax_backend.kernel import JaxKernel
from paper_repro.core.kernels.plan import plan
from paper_repro.core.kernels.pool.cards import Cards
from paper_repro.core.kernels.pool.in_process import InProcess

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")

PLANS = {
    "convnet 9x11x1": (convnet(), (9, 11, 1)),
    "convnet3 10x8x3": (convnet3(), (10, 8, 3)),
    "conv-3": (conv(3), (9, 11, 3)),
    "one pool, smallest": (convnet(1, prepend=False), (2, 2, 1)),
}
MORE_PLANS = {
    "convnet 8x8x3": (convnet(), (8, 8, 3)),
    "convnet 28x28x1": (convnet(), (28, 28, 1)),
    "convnet 32x32x3": (convnet(), (32, 32, 3)),
    "convnet 17x32x2": (convnet(), (17, 32, 2)),
    "one pool": (convnet(1), (6, 5, 2)),
    "two pools": (convnet(2, prepend=False), (7, 4, 1)),
    "conv-1": (conv(1), (4, 3, 1)),
    "conv-2, one pixel": (conv(2), (1, 1, 2)),
}
FLOAT64_TOO_LARGE = ("convnet 32x32x3",)


@functools.cache
def host_device():
    return HostDevice(Path(tempfile.mkdtemp(prefix="cuda-host-")))


def kernel(architecture, dtype="float32", get="ntk"):
    return CudaKernel(architecture, dtype, get, devices=(host_device(),))


def _exact(architecture, get="ntk"):
    return network_kernel(architecture, backend="numba", dtype="float64", get=get)


def _relative(found, wanted):
    """Largest error relative to an entry, or to a tenth of the largest where entries cancel."""
    wanted = np.asarray(wanted)
    scale = np.maximum(np.abs(wanted), 0.1 * np.max(np.abs(wanted)))
    return np.max(np.abs(np.asarray(found, float) - wanted) / scale)


def _cases():
    for name in (*PLANS, *MORE_PLANS):
        for dtype in ("float32", "float64"):
            quick = name in PLANS and (dtype == "float32" or name == "convnet 9x11x1")
            if dtype == "float32" or name not in FLOAT64_TOO_LARGE:
                yield pytest.param(name, dtype, marks=() if quick else pytest.mark.slow)


@needs_compiler
@pytest.mark.parametrize(("name", "dtype"), list(_cases()))
def test_values_and_gradients(name, dtype):
    architecture, shape = (PLANS | MORE_PLANS)[name]
    assert refusal(plan(architecture, shape), np.dtype(dtype)) is None
    x1, x2 = oracle.images(3, shape), oracle.images(18, shape, seed=1)
    x2[5] = x1[1]
    seeds = np.random.default_rng(2).normal(size=(3, 18))
    for get in ("ntk", "nngp"):
        found, exact = kernel(architecture, dtype, get), _exact(architecture, get)
        targets = found.prepare(x2)
        limit = {"float32": (2e-6, 1e-5), "float64": (1e-10, 1e-10)}[dtype]
        value, gradient = exact.block(x1, x2), exact.block_vjp(x1, x2, seeds)
        assert _relative(found.block(x1, targets), value) <= limit[0]
        assert oracle.norm_error(found.block_vjp(x1, targets, seeds), gradient) <= limit[1]
        assert _relative(found.block(x1, x1), exact.block(x1, x1)) <= limit[0]


@needs_compiler
@pytest.mark.slow
def test_agrees_with_neural_tangents():
    x1, x2, seeds, found = oracle.expected("convnet", (8, 8, 3))
    value, _, gradient = found["ntk"]
    found = kernel(from_name("convnet"), "float64")
    assert _relative(found.block(x1, x2), value) <= 1e-10
    assert oracle.norm_error(found.block_vjp(x1, x2, seeds), gradient) <= 1e-9


def _flat(shape):
    """Constant patches in places that coincide, and an image of one value."""
    x = oracle.images(4, shape)
    x[0, :5, :6] = x[1, 2:7, :6] = 0.5
    x[2] = 0.5
    return x


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_coincident_patches(dtype):
    shape = (9, 11, 1)
    x, seeds = _flat(shape), np.random.default_rng(0).normal(size=(4, 4))
    found, exact = kernel(convnet(), dtype), _exact(convnet())
    assert _relative(found.block(x, x), exact.block(x, x)) <= oracle.COINCIDENT[dtype]
    gradient = exact.block_vjp(x, x, seeds)
    limit = {"float32": 5e-4, "float64": 1e-7}[dtype]
    assert oracle.norm_error(found.block_vjp(x, x, seeds), gradient) <= limit


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_patches_without_variance(dtype):
    architecture = dataclasses.replace(convnet(1), b_std=0.0)
    x1, x2 = oracle.images(2, (8, 7, 1)), oracle.images(3, (8, 7, 1), seed=1)
    x1[0, :5], x2[1, 3:] = 0, 0
    found, exact = kernel(architecture, dtype), _exact(architecture, "nngp")
    assert _relative(found.block(x1, x2, "nngp"), exact.block(x1, x2)) <= 2e-6
    assert np.isfinite(found.block_vjp(x1, x2, np.ones((2, 3)))).all()


@needs_compiler
def test_same_bits_on_two_cards():
    """Each with its own memory; blocks alternate between them."""
    shape, architecture = (6, 5, 1), convnet(1)
    both = (host_device(), HostDevice(Path(tempfile.mkdtemp(prefix="cuda-host-"))))
    x1, x2 = oracle.images(3, shape), oracle.images(40, shape, seed=1)
    seeds = np.random.default_rng(0).normal(size=(3, 40))
    rows = np.array([31, 2, 2, 17, 8, 30, 4])
    results = []
    for devices, pool in (
        (both[:1], InProcess(8)),
        (both[:1], Cards(8, devices=1)),
        (both, _Threads(8, 2)),
    ):
        found = CudaKernel(architecture, devices=devices)
        found.pool, found.block_pairs = pool, 64
        targets = found.hold(x2)
        k, pull = found.with_pullback(x1, targets)
        k_rows, pull_rows = found.with_pullback(x1, targets[rows])
        results.append([k, pull(seeds), k_rows, pull_rows(seeds[:, rows]), found(x1, targets)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


class _OnACard:
    """As CuPy's arrays are read: never by NumPy itself."""

    def __init__(self, array):
        self._array, self.shape = array, array.shape
        self.__cuda_array_interface__ = None

    def __len__(self):
        return len(self._array)

    def __getitem__(self, rows):
        return _OnACard(self._array[rows])

    def __array__(self, *arguments, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def get(self):
        return self._array


@needs_compiler
def test_arrays_of_other_libraries_and_traced_calls():
    shape, seeds = (6, 5, 1), np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    x1, x2 = (oracle.images(n, shape, seed=n).astype("float32") for n in (2, 3))
    found = kernel(convnet(1))
    value, gradient = found(x1, x2), found.vjp(x1, x2, seeds)
    for kind in (jnp.asarray, _OnACard):
        np.testing.assert_array_equal(found(kind(x1), kind(x2)), value)
        np.testing.assert_array_equal(found.block_vjp(kind(x1), kind(x2), kind(seeds)), gradient)
    np.testing.assert_allclose(jax.jit(found)(x1, x2), value, rtol=1e-5)
    traced = jax.jit(jax.grad(lambda x: jnp.sum(seeds * found(x, x2))))(x1)
    assert oracle.norm_error(traced, gradient) <= 1e-5


class _Threads(Cards):
    """Two cards where JAX has one device."""

    def map(self, work, blocks):
        with mock.patch.object(jax, "local_devices", lambda: 2 * jax.devices()):
            yield from super().map(work, blocks)


@needs_compiler
def test_same_bits_for_rows_blocks_and_runs():
    shape = (6, 5, 1)
    x1, x2 = oracle.images(4, shape), oracle.images(20, shape, seed=1)
    found = kernel(convnet(1))
    targets, rows = found.prepare(x2), np.array([17, 3, 3, 8])
    whole = found.block(x1, targets)
    np.testing.assert_array_equal(found.block(x1, targets[rows]), whole[:, rows])
    np.testing.assert_array_equal(found.block(x1[2:3], targets), whole[2:3])
    np.testing.assert_array_equal(found(x1, x2), whole)
    seeds = np.random.default_rng(0).normal(size=(4, 20))
    gradient = found.block_vjp(x1, targets, seeds)
    np.testing.assert_array_equal(found.block_vjp(x1, x2, seeds), gradient)
    np.testing.assert_array_equal(found.block_vjp(x1[1:3], targets, seeds[1:3]), gradient[1:3])


@needs_compiler
def test_rows_of_prepared_images_stay_on_the_card(monkeypatch):
    found = kernel(convnet(1))
    targets = found.prepare(oracle.images(6, (6, 5, 1)))[2:5]
    support = found.prepare(oracle.images(1, (6, 5, 1)))
    monkeypatch.setattr(found, "_packed", None)
    assert found.block(support, targets).shape == (1, 3)


@needs_compiler
def test_an_image_that_is_not_finite_spoils_its_own_entries_only():
    x1, x2 = oracle.images(3, (6, 5, 1)), oracle.images(2, (6, 5, 1), seed=1)
    x1[1, 0, 0] = np.nan
    found = kernel(convnet(1))
    assert np.isnan(found.block(x1, x2)).all(1).tolist() == [False, True, False]
    gradient = found.block_vjp(x1, x2, np.ones((3, 2)))
    assert np.isnan(gradient).all((1, 2, 3)).tolist() == [False, True, False]
    assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv-1-erf", (3, 4, 1)),
        ("conv-1", (3, 40, 1)),
        pytest.param("myrtle-5", (8, 8, 3), marks=pytest.mark.slow),
    ],
)
def test_other_plans_go_to_the_jax_backend_with_one_notice(name, shape):
    found, x = CudaKernel(from_name(name)), oracle.images(2, shape).astype(np.float32)
    with pytest.warns(UserWarning, match="runs on the jax backend"):
        value = found.block(x, x)
    np.testing.assert_array_equal(value, JaxKernel(from_name(name)).block(x, x))


class _Card:
    device_kind = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("architecture", "installed", "chosen"),
    [
        ("convnet", True, "cuda"),
        ("convnet", False, "jax"),
        ("convnet-erf", True, "jax"),
        ("fc1", True, "closed form"),
    ],
)
def test_auto_on_a_card(monkeypatch, architecture, installed, chosen):
    monkeypatch.setattr(factory.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(factory.jax, "devices", lambda: [_Card()])
    monkeypatch.setattr(factory, "_has", lambda *modules: installed)
    assert factory._resolved(from_name(architecture), "auto") == chosen


def test_a_network_is_given_to_it_by_name():
    found = network_kernel("convnet", backend="cuda", get="nngp")
    assert isinstance(found, CudaKernel) and found.get == "nngp"


@needs_compiler
def test_gradients_of_norms_are_taken_on_the_cpu(monkeypatch):
    seen, norms_vjp = [], cuda_kernel.norms_vjp

    def spy(*arguments):
        seen.append(jnp.zeros(()).devices())
        return norms_vjp(*arguments)

    monkeypatch.setattr(cuda_kernel, "norms_vjp", spy)
    x = oracle.images(2, (6, 5, 1))
    kernel(convnet(1)).block_vjp(x, x, np.ones((2, 2)))
    assert seen == [{jax.local_devices(backend="cpu")[0]}]
