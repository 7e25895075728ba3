"""Images of any scale, and sums of millions of entries, in float32 as in float64."""

import dataclasses
import functools

import jax
import kernel_oracle as oracle
import numpy as np
import pytest
from cuda_host import HostDevice, compiler

from paper_repro.core.kernels import architecture as arch
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.cuda_backend.kernel import CudaKernel
from paper_repro.core.kernels.dot_product import fully_connected_kernel

# Conv ReLU AvgPool Conv ReLU Flatten Dense, and with a bias.
TWO = arch.Architecture(
    "Two",
    (
        arch.Conv(),
        arch.ReLU(),
        arch.AvgPool(),
        arch.Conv(),
        arch.ReLU(),
        arch.Flatten(),
        arch.Dense(),
    ),
    b_std=0.0,
)
BIASED = dataclasses.replace(TWO, b_std=0.1)
AVERAGE = arch.Architecture(
    "Average", (arch.Conv(), arch.ReLU(), arch.GlobalAvgPool(), arch.Dense())
)
SHAPE = (6, 5, 2)
VALUE, GRADIENT = 2e-6, 1e-5


# Compiling the host build takes minutes; `test_cuda_kernel` has its ordinary images by default.
BACKENDS = ("numba", "jax", pytest.param("cuda", marks=pytest.mark.slow))


@functools.cache
def host_device():
    return HostDevice()


def made(architecture, backend, dtype="float32", get="ntk"):
    if backend == "cuda":
        if compiler() is None:
            pytest.skip("no C++ compiler here")
        return CudaKernel(architecture, dtype, get, devices=(host_device(),))
    return network_kernel(architecture, backend=backend, dtype=dtype, get=get)


def exact(architecture, x1, x2, cotangent):
    """Entries and gradient in float64, whose range no image here comes near the ends of."""
    kernel_fn = made(architecture, "numba", "float64")
    return kernel_fn.block(x1, x2), kernel_fn.block_vjp(x1, x2, cotangent)


def errors(found, wanted):
    """Largest relative errors of entries, and of the gradient of an image."""
    (k, gradient), (k_wanted, gradient_wanted) = found, wanted
    with np.errstate(all="raise"):
        rows = [oracle.norm_error(a, b) for a, b in zip(gradient, gradient_wanted, strict=True)]
        return oracle.relative(k, k_wanted), max(rows)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_an_image_that_is_zero_up_to_rounding(backend):
    x = np.full((1, 2, 2, 1), 1e-12, np.float32)
    kernel_fn = made(TWO, backend)
    np.testing.assert_allclose(kernel_fn(x, x.copy()), 1.77e-25, rtol=1e-2)
    wanted = made(TWO, "numba", "float64")(x)
    np.testing.assert_allclose(kernel_fn(x, x.copy()), wanted, rtol=VALUE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("background", [5.6e-17, 1e-20, 1e-30])
def test_a_background_that_is_zero_up_to_rounding(backend, background):
    x1, x2 = (oracle.images(3, SHAPE, seed=s).astype("float32") for s in (0, 1))
    x1[:, :4], x2[1:, 2:] = background, -background
    seeds = np.random.default_rng(2).normal(size=(3, 3))
    kernel_fn = made(TWO, backend)
    k, gradient = kernel_fn.block(x1, x2), kernel_fn.block_vjp(x1, x2, seeds)
    assert np.isfinite(gradient).all()
    assert oracle.relative(k, exact(TWO, x1, x2, seeds)[0]) <= VALUE


SCALES = [1e-30, 1e-20, 1e-12, 1e-10, 1.0, 3e9, 1e12, 1e18]


@pytest.mark.parametrize("backend", BACKENDS)
def test_scales_of_images_without_a_bias(backend):
    base1, base2 = oracle.images(2, SHAPE), oracle.images(2, SHAPE, seed=1)
    seeds = np.random.default_rng(2).normal(size=(2, 2))
    kernel_fn = made(TWO, backend)
    for scale in SCALES:
        for other in (1.0, 1 / scale):
            x1, x2 = (scale * base1).astype("float32"), (other * base2).astype("float32")
            wanted = exact(TWO, x1, x2, seeds)
            found = kernel_fn.block(x1, x2), kernel_fn.block_vjp(x1, x2, seeds)
            value, gradient = errors(found, wanted)
            assert value <= VALUE and gradient <= GRADIENT, (scale, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e-12, 3e9, 1e12, 1e15])
def test_scales_of_images_with_a_bias(backend, scale):
    x1, x2 = ((scale * oracle.images(2, SHAPE, s)).astype("float32") for s in (0, 1))
    seeds = np.random.default_rng(2).normal(size=(2, 2))
    kernel_fn = made(BIASED, backend)
    found = kernel_fn.block(x1, x2), kernel_fn.block_vjp(x1, x2, seeds)
    value, gradient = errors(found, exact(BIASED, x1, x2, seeds))
    assert value <= VALUE and gradient <= GRADIENT


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_large_images_of_another_activation(backend):
    architecture = arch.from_name("conv-2-erf")
    seeds = np.ones((2, 2))
    for scale in (3e9, 1e12):
        x1, x2 = ((scale * oracle.images(2, (4, 4, 2), s)).astype("float32") for s in (0, 1))
        kernel_fn = made(architecture, backend)
        found = kernel_fn.block(x1, x2), kernel_fn.block_vjp(x1, x2, seeds)
        value, gradient = errors(found, exact(architecture, x1, x2, seeds))
        assert value <= VALUE and gradient <= GRADIENT, scale


@pytest.mark.parametrize("get", oracle.GETS)
@pytest.mark.parametrize("b_std", [0.0, 0.1])
def test_scales_of_images_of_fully_connected_networks(get, b_std):
    base1, base2 = oracle.images(3, SHAPE), oracle.images(4, SHAPE, seed=1)
    seeds = np.random.default_rng(2).normal(size=(3, 4))
    single, double = (
        fully_connected_kernel(3, d, get, b_std=b_std) for d in ("float32", "float64")
    )
    for scale in SCALES[2 * bool(b_std) : 7]:
        x1, x2 = (scale * base1).astype("float32"), base2.astype("float32")
        # An entry of two images of 1e-30 is below the range of float32.
        for y in (x2, x1)[: 1 + (1e-15 < scale)]:
            c = seeds[:, : len(y)]
            found, wanted = (
                (np.asarray(k.block(x1, y)), np.asarray(k.block_vjp(x1, y, c)))
                for k in (single, double)
            )
            value, gradient = errors(found, wanted)
            # Where an image meets itself, and where the bias is all there is, float32 has fewer
            # digits.
            small = b_std and scale < 1
            assert value <= (1e-4 if y is x1 else VALUE), (scale, y is x1)
            assert small or gradient <= (1e-3 if y is x1 else GRADIENT), (scale, y is x1)
        if 1e-15 < scale < 1e15:
            traced = jax.jit(jax.grad(lambda x: (single(x, x2) * seeds).sum()))(x1)  # noqa: B023
            pulled = double.vjp(x1, x2, seeds)
            assert small or oracle.norm_error(traced, pulled) <= GRADIENT


def test_what_is_beyond_the_range_is_not_silent():
    x = oracle.images(2, SHAPE) * 1e25
    k = made(BIASED, "numba")(x)
    assert not np.isfinite(k).any()


@pytest.mark.parametrize(("backend", "size"), [("numba", 32), ("numba", 64), ("jax", 32)])
def test_a_global_average_rounds_off_little(backend, size):
    x1, x2 = (oracle.images(n, (size, size, 3), seed=n) for n in (1, 2))
    for get in oracle.GETS:
        wanted = made(AVERAGE, "numba", "float64", get).block(x1, x2)
        assert oracle.relative(made(AVERAGE, backend, get=get).block(x1, x2), wanted) <= VALUE
