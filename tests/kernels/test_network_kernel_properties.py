"""What holds for every kernel of a network, checked over random shapes and architectures."""

import inspect
import subprocess
import sys
import typing

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import architecture as arch
from paper_repro.core.kernels import from_name, network_kernel
from paper_repro.core.kernels.dot_product import rbf
from paper_repro.core.kernels.numba_backend.forward import forward_tasks

ARCHITECTURES = st.sampled_from(
    [
        arch.convnet(1),
        arch.convnet(2),
        arch.convnet(2, prepend=False),
        arch.conv(1),
        arch.conv(3),
        arch.myrtle(5),
        arch.myrtle(7),
    ]
)
SHAPES = st.tuples(st.integers(4, 9), st.integers(4, 9), st.integers(1, 4))
SEEDS = st.integers(0, 2**31)


def _images(seed, n, shape):
    return np.random.default_rng(seed).normal(size=(n, *shape))


@settings(max_examples=25, deadline=None)
@given(ARCHITECTURES, SHAPES, SEEDS, st.sampled_from(["ntk", "nngp"]))
def test_symmetric_and_positive_semidefinite(architecture, shape, seed, get):
    x = _images(seed, 9, shape)
    kernel_fn = network_kernel(architecture, backend="numba", dtype="float64", get=get)
    k = kernel_fn(x)
    assert np.array_equal(k, k.T)
    np.testing.assert_allclose(k, kernel_fn(x, x.copy()), rtol=1e-11)
    values = np.linalg.eigvalsh(k)
    assert values[0] >= -1e-12 * values[-1]
    single = network_kernel(architecture, backend="numba", get=get)(x)
    assert np.linalg.eigvalsh(single.astype(float))[0] >= -1e-6 * values[-1]


@settings(max_examples=15, deadline=None)
@given(ARCHITECTURES, SHAPES, SEEDS)
def test_permutations_and_blocks(architecture, shape, seed):
    x1, x2 = _images(seed, 5, shape), _images(seed + 1, 37, shape)
    kernel_fn = network_kernel(architecture, backend="numba")
    k = kernel_fn.block(x1, x2)
    order1, order2 = (np.random.default_rng(seed).permutation(len(x)) for x in (x1, x2))
    assert np.array_equal(kernel_fn.block(x1[order1], x2[order2]), k[order1][:, order2])
    kernel_fn.block_pairs = 64 * 5
    seen = []
    whole = kernel_fn(x1, x2, progress=lambda done, total: seen.append((done, total)))
    assert np.array_equal(whole, k)
    assert seen[-1] == (5 * 37, 5 * 37)
    # Entries may cross zero, where rounding is that of their terms.
    swapped = kernel_fn.block(x2, x1)
    np.testing.assert_allclose(swapped, k.T, rtol=2e-6, atol=2e-6 * np.abs(k).max())


@settings(max_examples=15, deadline=None)
@given(ARCHITECTURES, SHAPES, SEEDS, st.sampled_from(["ntk", "nngp"]))
def test_gradient_is_the_finite_difference(architecture, shape, seed, get):
    x1, x2 = _images(seed, 2, shape), _images(seed + 1, 11, shape)
    cotangent = np.random.default_rng(seed).normal(size=(2, 11))
    kernel_fn = network_kernel(architecture, backend="numba", dtype="float64", get=get)
    gradient = kernel_fn.vjp(x1, x2, cotangent)
    step = 1e-6 * _images(seed + 2, 2, shape)
    ahead, behind = kernel_fn(x1 + step, x2), kernel_fn(x1 - step, x2)
    difference = np.vdot(cotangent, ahead - behind) / 2
    scale = np.linalg.norm(gradient) * np.linalg.norm(step)
    assert abs(difference - np.vdot(gradient, step)) <= 1e-5 * scale


def test_self_gradient_moves_both_sides():
    x = _images(0, 4, (6, 6, 2))
    cotangent = _images(1, 1, (4, 4))[0]
    kernel_fn = network_kernel(arch.convnet(1), backend="numba", dtype="float64")
    gradient = kernel_fn.vjp(x, None, cotangent)
    step = 1e-6 * _images(2, 4, (6, 6, 2))
    ahead, behind = kernel_fn(x + step), kernel_fn(x - step)
    difference = np.vdot(cotangent, ahead - behind) / 2
    assert np.isclose(difference, np.vdot(gradient, step), rtol=1e-5)


def test_prepared_images_and_their_rows():
    x1, x2 = _images(0, 3, (8, 8, 3)), _images(1, 50, (8, 8, 3))
    kernel_fn = network_kernel("convnet", backend="numba")
    targets = kernel_fn.prepare(x2)
    assert len(targets.features[0]) == 50
    rows = np.array([7, 3, 41])
    assert np.array_equal(kernel_fn.block(x1, targets[rows]), kernel_fn.block(x1, x2[rows]))
    k, pullback = kernel_fn.block_and_pullback(x1, targets[rows])
    assert np.array_equal(k, kernel_fn.block(x1, x2[rows]))
    assert np.array_equal(pullback(np.ones((3, 3))), kernel_fn.block_vjp(x1, x2[rows], k * 0 + 1))


def test_results_do_not_depend_on_the_threads():
    x1, x2 = _images(0, 3, (8, 8, 3)), _images(1, 300, (8, 8, 3))
    one, three = (network_kernel("convnet", backend="numba", threads=n) for n in (1, 3))
    assert np.array_equal(one.block(x1, x2), three.block(x1, x2))
    cotangent = _images(2, 1, (3, 300))[0]
    assert np.array_equal(one.block_vjp(x1, x2, cotangent), three.block_vjp(x1, x2, cotangent))


@pytest.mark.parametrize("backend", ["numba", "jax"])
@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_what_is_not_finite_stays_so(backend, get):
    x = _images(0, 3, (6, 6, 2))
    x[1, 2, 3, 0] = np.nan
    for name in ("conv-3", "fc2"):
        kernel_fn = network_kernel(name, backend=backend, get=get)
        for k in (kernel_fn(x), kernel_fn(x, x.copy())):
            assert np.isnan(k[1]).all() and np.isnan(k[:, 1]).all()
            assert np.isfinite(k[::2, ::2]).all()
        assert np.isnan(kernel_fn.vjp(x[:1], x[1:], np.ones((1, 2)))).any()


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_an_unknown_kernel_of_a_call_is_refused(backend):
    x = _images(0, 2, (6, 6, 2))
    for name in ("conv-3", "fc2"):
        kernel_fn = network_kernel(name, backend=backend)
        for wrong in ("NTK", ("nngp", "ntk"), ""):
            with pytest.raises(UserError, match="choose ntk or nngp"):
                kernel_fn(x, None, wrong)
            with pytest.raises(UserError, match="choose ntk or nngp"):
                kernel_fn.vjp(x, x, np.ones((2, 2)), wrong)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_images_prepared_by_another_kernel_are_prepared_anew(backend):
    x = _images(0, 3, (6, 6, 2))
    for name, other in (("conv-3", arch.convnet(1)), ("fc2", "fc2")):
        kernel_fn = network_kernel(name, backend=backend, dtype="float64")
        foreign = network_kernel(other, backend=backend, dtype="float32").prepare(x)
        wanted = kernel_fn(x.astype("float32"))
        np.testing.assert_allclose(kernel_fn(foreign), wanted, rtol=1e-12)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_empty_batches(backend):
    kernel_fn = network_kernel(arch.convnet(1), backend=backend)
    x = _images(0, 2, (8, 8, 3))
    assert kernel_fn(x[:0], x).shape == (0, 2)
    assert kernel_fn(x, x[:0]).shape == (2, 0)
    assert np.array_equal(kernel_fn.vjp(x, x[:0], np.ones((2, 0))), np.zeros(x.shape))
    assert kernel_fn.block(x, x[:0]).shape == (2, 0)
    assert np.array_equal(kernel_fn.block_vjp(x, x[:0], np.ones((2, 0))), np.zeros(x.shape))
    assert kernel_fn.block_vjp(x[:0], x, np.ones((0, 2))).shape == (0, 8, 8, 3)
    assert jax.jit(kernel_fn)(x, x[:0]).shape == (2, 0)
    assert not np.any(jax.grad(lambda x: kernel_fn(x, x[:0]).sum())(x))


@pytest.mark.parametrize("backend", ["numba", "jax", "fc"])
def test_whole_matrices_take_prepared_images(backend):
    kernel_fn = (
        network_kernel("fc1")
        if backend == "fc"
        else network_kernel(arch.convnet(1), backend=backend)
    )
    x1, x2 = _images(0, 3, (8, 8, 3)), _images(1, 4, (8, 8, 3))
    cotangent = _images(2, 3, (4,))
    prepared = kernel_fn.prepare(x2)
    assert prepared.shape == x2.shape
    assert np.array_equal(kernel_fn(x1, prepared), kernel_fn(x1, x2))
    assert np.array_equal(kernel_fn.vjp(x1, prepared, cotangent), kernel_fn.vjp(x1, x2, cotangent))
    with pytest.raises(UserError, match="one shape"):
        kernel_fn.block(x1, np.moveaxis(x2, -1, 1))


def test_traced_images_of_other_shapes_are_refused():
    kernel_fn = network_kernel("convnet", backend="jax")
    x1, x2 = _images(0, 2, (8, 8, 3)), _images(1, 2, (8, 8, 1))
    with pytest.raises(UserError, match="one shape"):
        jax.jit(kernel_fn)(x1, x2)


@pytest.mark.parametrize("backend", ["numba", "jax", "neural_tangents", "fc", "rbf"])
def test_what_cannot_be_traced_says_what_can(backend):
    kernels = {"fc": lambda: from_name("FC1", "NTK"), "rbf": lambda: rbf(learn_scale=True)}
    kernel_fn = kernels.get(backend, lambda: network_kernel("convnet", backend=backend))()
    x, cotangent = _images(0, 2, (8, 8, 3)).astype("float32"), np.ones((2, 2), np.float32)
    calls = [kernel_fn.vjp, lambda x1, x2, c: kernel_fn.vjp(x, x, c)]
    if backend in ("fc", "rbf"):
        calls += [kernel_fn.parameter_vjp] * bool(kernel_fn.parameters)
    else:
        calls += [
            kernel_fn.block_vjp,
            lambda x1, x2, c: kernel_fn.block_vjp(x, x, c),
            lambda x1, x2, c: kernel_fn.prepare(x1).images,
            lambda x1, x2, c: kernel_fn.block_and_pullback(x, x)[1](c),
        ]
    if backend == "neural_tangents":
        calls += [lambda x1, x2, c: kernel_fn(x1), kernel_fn.block_and_pullback]
    for call in calls:
        with pytest.raises(UserError, match="arrays with values"):
            jax.jit(call)(x, x, cotangent)


def test_views_of_jax_arrays_compile_nothing_anew():
    kernel_fn = network_kernel("convnet", backend="numba")
    x = _images(0, 2, (8, 8, 3))
    expected = kernel_fn(x)
    seen = len(forward_tasks.signatures)
    assert np.array_equal(kernel_fn(jax.numpy.asarray(x)), expected)
    assert len(forward_tasks.signatures) == seen


def test_float64_entries_under_jit_need_float64_in_jax():
    x = _images(0, 2, (8, 8, 3))
    for name in ("fc1", "conv-1"):
        kernel_fn = network_kernel(name, backend="jax", dtype="float64")
        with pytest.raises(UserError, match="enable_x64"):
            jax.jit(kernel_fn)(x, x)
        with jax.enable_x64(True):
            assert jax.jit(kernel_fn)(x, x).dtype == np.float64


@pytest.mark.parametrize("backend", ["numba", "jax", "neural_tangents"])
def test_errors_say_what_to_do(backend):
    kernel_fn = network_kernel("convnet", backend=backend)
    x = _images(0, 2, (8, 8, 3))
    with pytest.raises(UserError, match="one shape"):
        kernel_fn.block(x, x[:, :7])
    with pytest.raises(UserError, match="argument is 1 or 2"):
        kernel_fn.vjp(x, x, np.ones((2, 2)), argument=3)
    with pytest.raises(UserError, match="cotangent"):
        kernel_fn.vjp(x, x, np.ones((2, 3)))


def test_the_package_has_the_factory_and_imports_nothing_heavy_for_it():
    code = """if True:
        import sys
        import paper_repro.core.kernels as kernels
        assert not {"jax", "numba"} & set(sys.modules)
        assert kernels.network_kernel("fc1").name == "FC1"
        assert not hasattr(kernels, "network_kernels")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", ["numba", "jax", "neural_tangents", "fc"])
def test_what_is_public_is_annotated(backend):
    kernel_fn = from_name("FC1", "NTK")
    if backend != "fc":
        kernel_fn = network_kernel("conv-1", backend=backend)
    assert typing.get_type_hints(type(kernel_fn))["dtype"] is np.dtype
    for name, member in inspect.getmembers(type(kernel_fn), inspect.isfunction):
        if name == "__call__" or not name.startswith("_"):
            hints = typing.get_type_hints(member)
            assert set(hints) == {*inspect.signature(member).parameters, "return"} - {"self"}, name


def test_factory_errors():
    for wrong in ({"backend": "torch"}, {"dtype": "float16"}, {"dtype": "x"}, {"get": "both"}):
        with pytest.raises(UserError):
            network_kernel("convnet", **wrong)
    for wrong in (
        {"backend": "numba", "tile_pairs": 4},
        {"backend": "jax", "threads": 1},
        {"backend": "numba", "threads": 0},
        {"backend": "jax", "tile_pairs": 0},
    ):
        with pytest.raises(UserError, match=r"leave it out|must be positive"):
            network_kernel("convnet", **wrong)
    with pytest.raises(UserError, match="closed form"):
        network_kernel("fc1", threads=1)
    layers = (arch.Conv(), arch.ReLU(), arch.Flatten(), arch.Dense())
    for wrong in (layers[1:], layers[:-1], layers[2:], layers[-1:], ()):
        for backend in ("numba", "jax"):
            with pytest.raises(UserError, match="not stacks"):
                network_kernel(arch.Architecture("Wrong", wrong), backend=backend)
    with pytest.raises(UserError, match="does not fit"):
        network_kernel("convnet", backend="numba")(_images(0, 1, (7, 7, 1)))
