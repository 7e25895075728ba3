"""A kernel from what it is and how it is computed."""

import dataclasses

import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec, from_name
from paper_repro.core.kernels.jax_backend.kernel import JaxKernel
from paper_repro.core.kernels.numba_backend.kernel import NumbaKernel
from paper_repro.core.kernels.pool.in_process import InProcess


def test_the_backend_and_its_options():
    numba = Execution(threads=3).kernel(KernelSpec("conv-1", "NNGP"))
    assert isinstance(numba, NumbaKernel)
    assert (numba.threads, numba.get, numba.dtype.name) == (3, "nngp", "float32")
    jax = Execution(backend="jax", dtype="float64").kernel(KernelSpec("conv-1"))
    assert isinstance(jax, JaxKernel) and jax.dtype == np.float64
    # Where a kernel has a closed form there is nothing for threads to do.
    for backend in ("auto", "numba"):
        for name in ("fc1", "fc1-erf", "RBF"):
            kernel = Execution(backend=backend, threads=1).kernel(KernelSpec(name))
            assert kernel.name.lower() == name.lower()


def test_the_scale_of_distances_can_be_given_and_learned():
    execution = Execution()
    assert execution.kernel(KernelSpec("RBF")).parameters == {}
    learned = execution.kernel(KernelSpec("laplace", scale=0.5, learn_scale=True))
    assert learned.parameters == {"scale": 0.5}
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 1))
    fixed = execution.kernel(KernelSpec("Laplace", scale=0.5))
    assert np.array_equal(learned(x), fixed(x))
    assert not np.array_equal(fixed(x), from_name("Laplace", "Laplace")(x))
    assert learned.parameter_vjp(x, x, np.ones((3, 3)))["scale"] < 0


def test_a_pool_goes_with_the_kernel_and_with_other_parameters_of_it():
    pool = InProcess(block_rows=2)
    execution = dataclasses.replace(Execution(), pool=pool)
    kernel = execution.kernel(KernelSpec("RBF", learn_scale=True))
    assert kernel.pool is pool and kernel.with_parameters({"scale": 2.0}).pool is pool
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1))
    whole = Execution().kernel(KernelSpec("RBF", learn_scale=True))
    np.testing.assert_allclose(
        kernel.parameter_vjp(x, x, np.eye(5) + 1)["scale"],
        whole.parameter_vjp(x, x, np.eye(5) + 1)["scale"],
        rtol=1e-5,
    )
    k, pull = kernel.with_pullback(x[:2], x)
    k_whole, pull_whole = whole.with_pullback(x[:2], x)
    np.testing.assert_allclose(k, k_whole, rtol=1e-6)
    np.testing.assert_allclose(pull(k), pull_whole(k), rtol=1e-4, atol=1e-7)
    with pytest.raises(UserError, match="cotangent"):
        pull(k.T)


@pytest.mark.parametrize(
    ("spec", "options", "match"),
    [
        (("convnet", "RBF"), {}, "choose NTK or NNGP"),
        (("convnet", "NTK", 2.0), {}, "scale"),
        (("fc1", "NTK", None, True), {}, "scale"),
        (("convnet",), {"backend": "torch"}, "unknown backend"),
        (("RBF",), {"backend": "torch"}, "unknown backend"),
        (("convnet",), {"threads": 0}, "positive"),
        (("convnet",), {"backend": "jax", "threads": 2}, "leave it out"),
        (("RBF", "RBF", -1.0), {}, "positive and finite"),
    ],
)
def test_errors(spec, options, match):
    with pytest.raises(UserError, match=match):
        Execution(**options).kernel(KernelSpec(*spec))
