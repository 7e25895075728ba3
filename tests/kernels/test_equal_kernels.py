"""Kernels are compared by value, so that what JAX compiled for one serves its equals; and lists."""

import gc
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec, network_kernel
from paper_repro.core.kernels.architecture import convnet, fully_connected
from paper_repro.core.kernels.pool.in_process import InProcess

SMALL = convnet(1)


@pytest.mark.parametrize(
    ("same", "others"),
    [
        (
            {"backend": "numba", "threads": 1},
            [
                {"threads": 2},
                {"dtype": "float64"},
                {"get": "nngp"},
                {"architecture": "conv-1"},
                {"backend": "jax", "threads": None},
            ],
        ),
        ({"backend": "jax"}, [{"tile_pairs": 4}, {"dtype": "float64"}, {"get": "nngp"}]),
        ({"backend": "neural_tangents"}, [{"architecture": convnet(1, prepend=False)}]),
        (
            {"architecture": "fc2"},
            [{"architecture": "fc3"}, {"dtype": "float64"}, {"get": "nngp"}],
        ),
    ],
)
def test_equality_and_hash(same, others):
    same = {"architecture": SMALL, **same}
    first, second = network_kernel(**same), network_kernel(**same)
    assert first == second and hash(first) == hash(second)
    for other in others:
        assert network_kernel(**{**same, **other}) != first
    assert first != "a kernel"
    second.pool = InProcess(block_rows=7)
    assert first != second and hash(first) == hash(second)


def test_equality_of_kernels_with_numbers_of_their_own():
    import dataclasses

    biased = fully_connected(2)
    assert network_kernel(biased) != network_kernel(dataclasses.replace(biased, b_std=0.2))

    def learned(scale):
        return Execution().kernel(KernelSpec("RBF", scale=scale, learn_scale=True))

    assert learned(1.0) == learned(1.0) and len({learned(1.0), learned(1.0), learned(2.0)}) == 2
    assert learned(1.0) != Execution().kernel(KernelSpec("RBF", scale=1.0))


class _Compilations(logging.Handler):
    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        if record.getMessage().startswith("Compiling"):
            self.names.append(record.getMessage()[:60])


@pytest.mark.parametrize("backend", ["numba", "jax", "closed form"])
def test_gradients_through_new_equal_kernels_compile_nothing_and_keep_nothing(backend):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 6, 5, 2)).astype("float32") for n in (2, 3))
    made = {"closed form": {"architecture": "fc2"}}.get(
        backend, {"architecture": SMALL, "backend": backend}
    )

    def gradient():
        return jax.grad(lambda u: network_kernel(**made)(u, y).sum())(x)

    first = gradient()
    jax.block_until_ready(gradient())
    gc.collect()
    live, seen = len(jax.live_arrays()), _Compilations()
    log = logging.getLogger("jax._src.interpreters.pxla")
    log.addHandler(seen)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        for _ in range(5):
            assert np.array_equal(gradient(), first)
    finally:
        log.removeHandler(seen)
        log.setLevel(level)
        log.propagate = propagate
    gc.collect()
    assert seen.names == []
    assert len(jax.live_arrays()) <= live + 1


@pytest.mark.parametrize("backend", ["numba", "jax", "closed form", "neural_tangents"])
def test_lists_are_images(backend):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 4, 4, 1)).round(2) for n in (2, 3))
    if backend == "closed form":
        kernel_fn = network_kernel("fc1", dtype="float64")
    else:
        kernel_fn = network_kernel("conv-1", backend=backend, dtype="float64")
    seeds = np.ones((2, 3))
    k = np.asarray(kernel_fn(x, y))
    for lists in ((x.tolist(), y.tolist()), (list(x), y), ([*map(jnp.asarray, x)], list(y))):
        assert np.array_equal(kernel_fn(*lists), k) or lists[0][0] is not x[0]
        np.testing.assert_allclose(kernel_fn(*lists), k, rtol=1e-6)
        np.testing.assert_allclose(
            kernel_fn.vjp(*lists, seeds.tolist()), kernel_fn.vjp(x, y, seeds), rtol=1e-5
        )
    assert np.array_equal(kernel_fn(x.tolist()), kernel_fn(x))
    assert np.array_equal(kernel_fn.block(x.tolist(), y.tolist()), kernel_fn.block(x, y))
    whole, pullback = kernel_fn.with_pullback(x.tolist(), y.tolist())
    assert np.array_equal(whole, kernel_fn.with_pullback(x, y)[0])
    assert pullback(seeds.tolist()).shape == x.shape
    assert kernel_fn.hold(x.tolist()).shape == x.shape


WRONG = {
    "ragged": [[[1.0, 2.0]], [[1.0]]],
    "text": [["a", "b"]],
    "None": [None, None],
    "dictionary": {"x": 1},
    "a number": 3.0,
    "complex": np.ones((2, 4, 4, 1), complex),
    "objects": np.full((2, 4, 4, 1), None),
    "dates": np.zeros((2, 4, 4, 1), "datetime64[s]"),
    "raw bytes": np.zeros((2, 4, 4, 1), "V2"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ["conv-1", "fc1"])
def test_what_is_no_array_of_real_numbers_is_refused_in_words(name, kind):
    kernel_fn, x = network_kernel(name), np.ones((2, 4, 4, 1))
    words = r"no array of images|arrays of real numbers|batches of images"
    for call in (
        lambda: kernel_fn(WRONG[kind]),
        lambda: kernel_fn(x, WRONG[kind]),
        lambda: kernel_fn.block(WRONG[kind], x),
        lambda: kernel_fn.vjp(WRONG[kind], x, np.ones((2, 2))),
        lambda: kernel_fn.with_pullback(x, WRONG[kind]),
        lambda: kernel_fn.hold(WRONG[kind]),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_lists_of_what_jax_traces():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")
    for name in ("conv-1", "fc1"):
        kernel_fn = network_kernel(name)
        traced = jax.jit(lambda a, b, k=kernel_fn: k([a, b]))(x[0], x[1])
        np.testing.assert_allclose(traced, kernel_fn(x), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", ">f4", "longdouble"])
def test_other_real_dtypes_are_converted(dtype):
    x = np.random.default_rng(0).integers(0, 2, (2, 4, 4, 1))
    for name in ("conv-1", "fc1"):
        kernel_fn = network_kernel(name)
        assert np.array_equal(kernel_fn(x.astype(dtype)), kernel_fn(x.astype("float32"))), name
    assert np.array_equal(kernel_fn(jnp.asarray(x, jnp.bfloat16)), kernel_fn(x))
