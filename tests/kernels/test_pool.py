"""Kernel blocks evaluated elsewhere: the bits of this process, for all that uses kernels."""

import dataclasses
import pickle

import numpy as np
import pytest
from process_pool import ProcessPool

from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.pool.held import HeldImages
from paper_repro.core.kernels.pool.in_process import InProcess
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.kip.training import run
from paper_repro.core.methods.label_solve import label_solve
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard
from paper_repro.core.sets.scoring import held_out, score

BLOCK_ROWS = 16
SPECS = {
    "conv-1": KernelSpec("conv-1"),
    "FC2 NNGP": KernelSpec("fc2", "NNGP"),
    "learned RBF": KernelSpec("RBF", learn_scale=True),
}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (150, 5, 4, 2)).astype(np.uint8)
LABELS = np.arange(150) % 3
TRANSFORM = Standard.fit(IMAGES)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    pool = ProcessPool(tmp_path_factory.mktemp("pool"), BLOCK_ROWS)
    yield pool
    pool.close()


def _kernels(spec, elsewhere):
    """The kernel in this process and on the pool, cut into the same blocks."""
    here = Execution(threads=1, pool=InProcess(BLOCK_ROWS))
    return here.kernel(spec), dataclasses.replace(here, pool=elsewhere).kernel(spec)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_kip_and_its_scores(spec, elsewhere, tmp_path):
    results = []
    for name, kernel in zip("ab", _kernels(spec, elsewhere), strict=True):
        test = held_out(kernel, TRANSFORM, IMAGES[100:], LABELS[100:], 3)
        problem = Problem(IMAGES[:100], LABELS[:100], 3, TRANSFORM, test=test, kernel_fn=kernel)
        config = KIPConfig(images_per_class=2, steps=2, target_batch=50, learn_labels=True)
        learned = run(problem, config, 0, tmp_path / name)
        results.append((learned, score(learned, test, kernel)))
    (a, score_a), (b, score_b) = results
    assert np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)
    assert score_a == score_b and np.isfinite(a.images).all()
    assert a.record["metrics"] == b.record["metrics"]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_label_solve(spec, elsewhere):
    here, there = (
        label_solve(kernel, TRANSFORM.apply(IMAGES[:6]), IMAGES, _one_hot(), TRANSFORM)
        for kernel in _kernels(spec, elsewhere)
    )
    assert np.array_equal(here, there)


def _one_hot():
    return centred_one_hot(LABELS, 3)


def test_matrices_gradients_and_held_rows(elsewhere):
    here, there = _kernels(SPECS["conv-1"], elsewhere)
    here.block_pairs = there.block_pairs = 100
    x1, x2 = TRANSFORM.apply(IMAGES[:20]), TRANSFORM.apply(IMAGES[20:])
    cotangent = RNG.normal(size=(20, len(x2)))
    sent = elsewhere.sent
    held = there.hold(x2)
    rows = np.array([7, 3, 99, 3])
    assert isinstance(held, HeldImages) and held[rows].shape == (4, 5, 4, 2)
    for _ in range(2):
        assert np.array_equal(there(x1, held), here(x1, x2))
        assert np.array_equal(there(x1, held[rows]), here(x1, x2[rows]))
    assert elsewhere.sent == sent + 1
    assert np.array_equal(there(x1), here(x1))
    assert np.array_equal(there.vjp(x1, held, cotangent), here.vjp(x1, x2, cotangent))
    wanted = here.vjp(x1, x2, cotangent, argument=2)
    assert np.array_equal(there.vjp(x1, x2, cotangent, argument=2), wanted)
    # The self kernel of a block of supports keeps its symmetry where it is evaluated.
    for (k, pull), (k_there, pull_there) in (
        (here.with_pullback(x1[:9], x1[:9]), there.with_pullback(x1[:9], x1[:9])),
        (here.with_pullback(x1, x2), there.with_pullback(x1, held)),
    ):
        ones = np.ones(k.shape)
        assert np.array_equal(k, k_there) and np.array_equal(pull(ones), pull_there(ones))


@pytest.mark.parametrize(
    "kernel",
    [
        Execution(threads=1, dtype="float64").kernel(KernelSpec("conv-1", "NNGP")),
        Execution(backend="jax").kernel(KernelSpec("conv-1")),
        Execution(backend="neural_tangents").kernel(KernelSpec("fc1")),
        Execution().kernel(KernelSpec("RBF", scale=2.0, learn_scale=True)),
        Execution().kernel(KernelSpec("Laplace", scale=2.0)),
    ],
    ids=lambda kernel: type(kernel).__name__ + kernel.name,
)
def test_a_kernel_is_pickled_as_the_call_that_made_it(kernel):
    again = pickle.loads(pickle.dumps(kernel))
    assert again.definition == kernel.definition
    assert dict(again.parameters) == dict(kernel.parameters)
    x = TRANSFORM.apply(IMAGES[:3])
    assert np.array_equal(again(x), kernel(x))
    assert len(pickle.dumps(kernel)) < 2_000
