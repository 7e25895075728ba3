"""Cheap kernels against neural-tangents, SciPy distances and finite differences."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.architecture import fully_connected
from paper_repro.core.kernels.dot_product import fully_connected_kernel, laplace, rbf
from paper_repro.core.kernels.neural_tangents import NeuralTangentsKernel

SHAPE = (8, 8, 3)

# Of the whole matrix or gradient, in the 2-norm, against neural-tangents.
VALUES = {"float32": 2e-6, "float64": 1e-11}
GRADIENTS = {"float32": 1e-5, "float64": 1e-9}
# Of a directional derivative, central differences in float64 at a step of 1e-5.
DIFFERENCES = 1e-7

KERNELS = {
    "FC1": lambda dtype: fully_connected_kernel(1, dtype),
    "FC1 NNGP": lambda dtype: fully_connected_kernel(1, dtype, "nngp"),
    "FC2": lambda dtype: fully_connected_kernel(2, dtype),
    "RBF": lambda dtype: rbf(0.7, dtype=dtype),
    "Laplace": lambda dtype: laplace(0.7, dtype=dtype),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def images(rng, n, dtype="float64"):
    return rng.standard_normal((n, *SHAPE)).astype(dtype)


def images_of_uneven_pixels(rng, dtype):
    """Batches of several sizes in which few pixels carry most of the norm."""
    return [(rng.standard_normal((n, 32, 32, 3)) ** 5).astype(dtype) for n in (20, 100, 300)]


def relative(got, want):
    got, want = (np.asarray(a, np.float64) for a in (got, want))
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def paired(cotangent, k):
    return np.sum(cotangent * np.asarray(k))


def slope(f, x, direction, step=1e-5):
    return (f(x + step * direction) - f(x - step * direction)) / (2 * step)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("depth", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_fully_connected_equals_neural_tangents(rng, depth, get, dtype):
    x1, x2, cotangent = images(rng, 5, dtype), images(rng, 7, dtype), rng.standard_normal((5, 7))
    ours = fully_connected_kernel(depth, dtype, get)
    theirs = NeuralTangentsKernel(fully_connected(depth), dtype, get)
    k, gradient = ours.block(x1, x2), ours.block_vjp(x1, x2, cotangent)
    assert k.dtype == gradient.dtype == dtype
    assert gradient.shape == x1.shape
    assert relative(k, theirs.block(x1, x2)) < VALUES[dtype]
    assert relative(gradient, theirs.block_vjp(x1, x2, cotangent)) < GRADIENTS[dtype]


@pytest.mark.parametrize("depth", [1, 3])
def test_get_of_a_call_overrides_that_of_the_kernel(rng, depth):
    x1, x2 = images(rng, 3), images(rng, 4)
    ntk, nngp = (fully_connected_kernel(depth, get=get) for get in ("ntk", "nngp"))
    assert np.array_equal(ntk.block(x1, x2, "nngp"), nngp.block(x1, x2))
    assert not np.allclose(ntk.block(x1, x2), nngp.block(x1, x2))


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_image_meets_itself_at_correlation_one(rng, depth, dtype):
    # A matrix product rounds differently from a sum of squares; the angle that this leaves on the
    # diagonal of the NTK would be worth 2e-4 in float32 and 1e-8 in float64.
    kernel = fully_connected_kernel(depth, dtype)
    for x in images_of_uneven_pixels(rng, dtype):
        q = np.mean(x.astype(np.float64) ** 2, axis=(1, 2, 3))
        k = 0.01 + 2 * q
        t = k
        for _ in range(depth):
            k, t = 0.01 + 2 * k / 2, t / 2
            t = k + 2 * t
        found = np.diag(np.asarray(kernel.block(x, x), np.float64))
        np.testing.assert_allclose(found, t, rtol={"float32": 1e-5, "float64": 1e-13}[dtype])


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_the_gradient_is_that_of_finite_differences(rng, make):
    kernel = make("float64")
    x1, x2, cotangent = images(rng, 4), images(rng, 6), rng.standard_normal((4, 6))
    gradient = np.asarray(kernel.block_vjp(x1, x2, cotangent))
    for _ in range(3):
        direction = images(rng, 4)
        expected = slope(lambda x: paired(cotangent, kernel.block(x, x2)), x1, direction)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=DIFFERENCES)


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_the_gradient_of_a_self_kernel_takes_the_cotangent_twice(rng, make):
    kernel = make("float64")
    x, cotangent = images(rng, 5), rng.standard_normal((5, 5))
    gradient = np.asarray(kernel.block_vjp(x, x, cotangent + cotangent.T))
    for _ in range(3):
        direction = images(rng, 5)
        expected = slope(lambda x: paired(cotangent, kernel.block(x, x)), x, direction)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=DIFFERENCES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_duplicated_and_all_zero_images_are_finite(rng, make, dtype):
    kernel = make(dtype)
    x = images(rng, 6, dtype)
    x[1], x[2] = x[0], 0
    targets = np.concatenate([x[:3], images(rng, 2, dtype)])
    for other in (x, targets):
        k, pullback = kernel.block_and_pullback(x, other)
        assert np.isfinite(k).all()
        assert np.isfinite(pullback(rng.standard_normal(k.shape))).all()
    k = np.asarray(kernel.block(x, x), np.float64)
    # Duplicates have the same row, up to the rounding of the matrix product.
    np.testing.assert_allclose(k[0], k[1], rtol=2e-6)


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_a_self_kernel_is_symmetric_and_positive_semidefinite(rng, make):
    x = images(rng, 20)
    x[7] = x[3]
    k = np.asarray(make("float64").block(x, x))
    np.testing.assert_allclose(k, k.T, rtol=0, atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(k)
    assert eigenvalues[0] > -1e-12 * eigenvalues[-1]
    assert eigenvalues[1] > 1e-4 * eigenvalues[-1]  # one duplicate takes one rank and no more


def distances(x1, x2, metric):
    d = x1[0].size
    return cdist(x1.reshape(-1, d), x2.reshape(-1, d), metric), d


# float32: |x - x'|^2 / d is a difference of numbers near 1, its rounding is some eps.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_rbf_and_laplace_equal_exponentials_of_scipy_distances(rng, scale, dtype, tolerance):
    x1, x2 = images(rng, 5, dtype), images(rng, 8, dtype)
    squared, d = distances(x1, x2, "sqeuclidean")
    found = rbf(scale, dtype=dtype).block(x1, x2)
    np.testing.assert_allclose(found, np.exp(-scale * squared / d), rtol=0, atol=tolerance)
    distance, d = distances(x1, x2, "euclidean")
    found = laplace(scale, dtype=dtype).block(x1, x2)
    np.testing.assert_allclose(found, np.exp(-scale * distance / d**0.5), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_laplace_is_one_with_zero_gradient_where_images_coincide(rng, dtype):
    kernel = laplace(dtype=dtype)
    for x in images_of_uneven_pixels(rng, dtype):
        assert np.array_equal(np.diag(kernel.block(x, x)), np.ones(len(x), dtype))
        on_the_diagonal = kernel.block_vjp(x, x, np.eye(len(x)))
        assert np.array_equal(on_the_diagonal, np.zeros_like(x))


@pytest.mark.parametrize("make", [rbf, laplace])
def test_the_gradient_of_a_learned_scale_is_that_of_finite_differences(rng, make):
    x1, x2, cotangent = images(rng, 4), images(rng, 6), rng.standard_normal((4, 6))
    kernel = make(0.8, learn_scale=True, dtype="float64")
    assert kernel.parameters == {"scale": 0.8}
    gradient = kernel.parameter_vjp(x1, x2, cotangent)["scale"]

    def value(scale):
        return paired(cotangent, kernel.with_parameters({"scale": scale}).block(x1, x2))

    assert gradient == pytest.approx(slope(value, 0.8, 1.0), rel=DIFFERENCES)
    fixed = make(0.8, dtype="float64")
    assert fixed.parameters == {}
    assert fixed.parameter_vjp(x1, x2, cotangent) == {}


@pytest.mark.parametrize("make", [rbf, laplace])
def test_with_parameters_makes_the_kernel_of_that_scale(rng, make):
    x1, x2 = images(rng, 4), images(rng, 6)
    learned = make(1.0, learn_scale=True)
    moved = learned.with_parameters({"scale": 2.5})
    assert np.array_equal(moved.block(x1, x2), make(2.5).block(x1, x2))
    assert learned.parameters == {"scale": 1.0}  # the original is unchanged
    with pytest.raises(UserError, match="no learnable parameters"):
        make(1.0).with_parameters({"scale": 2.5})


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_prepared_images_give_the_same_bits(rng, make):
    kernel = make("float32")
    x1, x2, cotangent = images(rng, 5), images(rng, 9), rng.standard_normal((5, 9))
    p1, p2 = kernel.prepare(x1), kernel.prepare(x2)
    assert len(p2) == 9
    plain = np.asarray(kernel.block(x1, x2))
    for a, b in ((x1, p2), (p1, x2), (p1, p2)):
        assert np.array_equal(plain, kernel.block(a, b))
    gradient = kernel.block_vjp(x1, x2, cotangent)
    assert np.array_equal(gradient, kernel.block_vjp(x1, p2, cotangent))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [slice(2, 7), np.array([8, 0, 3])], ids=["slice", "array"])
def test_rows_of_prepared_images_are_those_images(rng, rows, dtype):
    kernel = fully_connected_kernel(2, dtype)
    x1, x2 = images(rng, 5), images(rng, 9)
    some = kernel.prepare(x2)[rows]
    assert some.images.dtype == some.features[0].dtype == dtype
    assert np.array_equal(kernel.block(x1, some), kernel.block(x1, x2[rows]))


def test_rows_of_prepared_images_are_those_of_numpy(rng):
    x = images(rng, 5)
    prepared = fully_connected_kernel(1).prepare(x)
    assert np.array_equal(prepared[np.array([-1, 2])].images, prepared.images[np.array([4, 2])])
    with pytest.raises(IndexError):
        prepared[np.array([5])]


@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_without_a_bias_an_image_of_zeros_is_zero(rng, get):
    x = images(rng, 3)
    x[1] = 0
    kernel = fully_connected_kernel(2, "float64", get, b_std=0)
    k = np.asarray(kernel(x))
    assert np.array_equal(k[1], np.zeros(3)) and np.isfinite(k).all()
    assert np.isfinite(kernel.vjp(x, None, np.ones((3, 3)))).all()


def test_float64_leaves_jax_as_it_was(rng):
    fully_connected_kernel(1, "float64").block(images(rng, 2), images(rng, 2))
    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(1).dtype == "float32"


def test_unusable_arguments_are_refused(rng):
    kernel = fully_connected_kernel(1)
    x1, x2 = images(rng, 3), images(rng, 4)
    with pytest.raises(UserError, match="images of one shape"):
        kernel.block(x1, x2[:, :4])
    with pytest.raises(UserError, match="batches of images"):
        kernel.block(x1, np.ones(4))
    with pytest.raises(UserError, match=r"cotangent \(4, 3\) does not match block \(3, 4\)"):
        kernel.block_vjp(x1, x2, np.ones((4, 3)))
    for depth in (0, -1):
        with pytest.raises(UserError, match="at least one hidden layer"):
            fully_connected_kernel(depth)
    for make in (rbf, laplace):
        for scale in (0, -1.0, np.nan, np.inf):
            with pytest.raises(UserError, match="positive and finite"):
                make(scale)
    with pytest.raises(UserError, match="float32 or float64"):
        fully_connected_kernel(1, "float16")
