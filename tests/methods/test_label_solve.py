"""Label Solve against the pseudo-inverse of the whole matrix, and against perturbed labels."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_table

from paper_repro.benchmark.labels import labels
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.dot_product import fully_connected_kernel, rbf
from paper_repro.core.krr import DIAG_REG, loss_and_gradient, predict
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods import label_solve as module
from paper_repro.core.methods.label_solve import label_solve
from paper_repro.core.preprocess import Standard
from paper_repro.core.store.checkpoint import Resume

N_SUPPORT, N_TARGET, N_CLASSES = 20, 300, 10

KERNELS = {
    "FC1 NNGP": lambda dtype: fully_connected_kernel(1, dtype, "nngp"),
    "FC2 NTK": lambda dtype: fully_connected_kernel(2, dtype),
    "RBF": lambda dtype: rbf(dtype=dtype),
}


class Problem:
    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.images = self.rng.integers(0, 256, (N_TARGET, 6, 6, 3)).astype(np.uint8)
        labels = self.rng.integers(0, N_CLASSES, N_TARGET)
        self.y = centred_one_hot(labels, N_CLASSES)
        self.transform = Standard.fit(self.images)

    def support(self, kernel):
        return self.transform.apply(self.images[:N_SUPPORT], kernel.dtype)

    def solve(self, kernel, x_support, **kwargs):
        return label_solve(kernel, x_support, self.images, self.y, self.transform, **kwargs)

    def matrices(self, kernel, x_support):
        x = self.transform.apply(self.images, kernel.dtype)
        k_ts, k_ss = kernel.block(x, x_support), kernel.block(x_support, x_support)
        return np.asarray(k_ts, np.float64), np.asarray(k_ss, np.float64)


@pytest.fixture
def problem():
    return Problem()


@pytest.mark.parametrize("diag_reg", [1e-6, 0.1])
@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_labels_equal_those_of_the_pseudo_inverse(problem, make, diag_reg):
    kernel = make("float64")
    x = problem.support(kernel)
    k_ts, k_ss = problem.matrices(kernel, x)
    ridge = diag_reg * np.trace(k_ss) / N_SUPPORT * np.eye(N_SUPPORT)
    expected = (k_ss + ridge) @ np.linalg.pinv(k_ts) @ problem.y
    found = problem.solve(kernel, x, diag_reg=diag_reg)
    # Condition number of K_ts about 100, so 1e-10 leaves four digits to rounding.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    if diag_reg == DIAG_REG:
        assert np.array_equal(found, problem.solve(kernel, x))


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_solved_labels_minimise_the_kip_loss(problem, make):
    kernel = make("float64")
    x = problem.support(kernel)
    k_ts, k_ss = problem.matrices(kernel, x)
    labels = problem.solve(kernel, x)
    at = loss_and_gradient(k_ts, k_ss, problem.y, labels)
    assert np.abs(at.y_s).max() < 1e-12  # the gradient of natural labels is near 1e-3
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(10):
            moved = labels + size * problem.rng.standard_normal(labels.shape)
            assert loss_and_gradient(k_ts, k_ss, problem.y, moved).loss > at.loss
    natural = loss_and_gradient(k_ts, k_ss, problem.y, problem.y[:N_SUPPORT])
    assert np.abs(natural.y_s).max() > 1e-4


@pytest.mark.parametrize("block", [1, 7, N_SUPPORT, N_TARGET - 1])
def test_the_block_size_does_not_matter(problem, block, monkeypatch):
    kernel = fully_connected_kernel(1, "float64", "nngp")
    x = problem.support(kernel)
    whole = problem.solve(kernel, x)
    seen = []
    monkeypatch.setattr(module, "BLOCK", block)
    found = problem.solve(kernel, x, progress=lambda *done: seen.append(done))
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-10)
    assert seen[-1] == (N_TARGET, N_TARGET)
    assert len(seen) == -(-N_TARGET // block)


def test_fewer_targets_than_supports_are_fitted_exactly(problem):
    kernel = fully_connected_kernel(1, "float64", "nngp")
    x, few = problem.support(kernel), slice(N_SUPPORT, N_SUPPORT + 5)
    labels = label_solve(kernel, x, problem.images[few], problem.y[few], problem.transform)
    k_ts, k_ss = problem.matrices(kernel, x)
    np.testing.assert_allclose(predict(k_ts[few], k_ss, labels), problem.y[few], atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_duplicated_supports_do_as_well_as_the_distinct_ones(problem, make, dtype):
    kernel = make(dtype)
    x = problem.support(kernel)
    x[-3:] = x[0]
    labels = problem.solve(kernel, x)
    assert np.abs(labels).max() < 1  # a fit of the rounding would take labels of any size
    np.testing.assert_allclose(labels[-3:], labels[[0, 0, 0]], atol=1e-6)
    k_ts, k_ss = problem.matrices(kernel, x)
    loss = loss_and_gradient(k_ts, k_ss, problem.y, labels).loss
    distinct = slice(0, N_SUPPORT - 3)
    best = problem.solve(kernel, x[distinct])
    expected = loss_and_gradient(k_ts[:, distinct], k_ss[distinct, distinct], problem.y, best).loss
    assert loss == pytest.approx(expected, rel=1e-6)


def test_many_duplicates_leave_no_directions_of_rounding(problem):
    # The factor of ten duplicated columns has singular values of some eps, which are no signal.
    kernel = fully_connected_kernel(3, "float64")
    x = problem.transform.apply(problem.images[:100], kernel.dtype)
    x[-30:] = x[:30]
    assert np.abs(problem.solve(kernel, x)).max() < 10


def test_images_and_labels_that_do_not_match_are_refused(problem):
    kernel = rbf()
    x = problem.support(kernel)
    with pytest.raises(UserError, match="300 images but 299 labels"):
        label_solve(kernel, x, problem.images, problem.y[1:], problem.transform)
    x[0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        problem.solve(kernel, x)


# Stopping and resuming

KILLED = """
import os, signal, sys
from pathlib import Path
from paper_repro.core.methods import label_solve
from paper_repro.core.store import checkpoint
sys.path[:0] = {path!r}
from test_label_solve import KERNELS, Problem

def progress(done, of):
    if done == {last}:
        os.kill(os.getpid(), signal.SIGKILL)

label_solve.BLOCK, checkpoint.SECONDS = 40, 0.0
problem, kernel = Problem(), KERNELS["FC2 NTK"]("float32")
x = problem.support(kernel)
problem.solve(kernel, x, progress=progress, resume=checkpoint.Resume(Path({directory!r}), "this"))
"""


def resumed(problem, directory, seen):
    kernel = KERNELS["FC2 NTK"]("float32")
    x, resume = problem.support(kernel), Resume(directory, "this")
    return problem.solve(kernel, x, progress=lambda *done: seen.append(done[0]), resume=resume)


def test_a_solve_killed_twice_ends_in_the_bits_of_an_uninterrupted_one(
    problem, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "BLOCK", 40)
    path = [str(Path(__file__).parent), str(Path(small_table.__file__).parent)]
    for last in (80, 200):
        code = KILLED.format(path=path, last=last, directory=str(tmp_path / "killed"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    seen = []
    found = resumed(problem, tmp_path / "killed", seen)
    assert seen == [240, 280, 300]
    assert np.array_equal(found, resumed(problem, tmp_path / "whole", []))


def test_a_solve_that_is_interrupted_keeps_its_last_block(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 40)
    kernel = KERNELS["FC2 NTK"]("float32")

    def stop(done, of):
        if done == 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        x = problem.support(kernel)
        problem.solve(kernel, x, progress=stop, resume=Resume(tmp_path, "this"))
    kept = Resume(tmp_path, "this").found
    assert kept.metadata["n_done"] == "120"
    # Three blocks of 40: two are combined, the third waits for a fourth.
    assert {name: t.dtype for name, t in kept.tensors.items()} == {
        "level_1": np.float64,
        "level_0": np.float64,
    }
    seen = []
    resumed(problem, tmp_path, seen)
    assert seen[0] == 160
    with pytest.raises(UserError, match=r"holds another run .* choose another --out"):
        Resume(tmp_path, "that")


@pytest.mark.parametrize("combination", [1, 2, 3, 4])
def test_an_interrupt_while_factors_are_combined_loses_none(
    combination, problem, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "BLOCK", 40)
    factor_of, combined = module._factor, []

    def interrupted(*blocks):
        combined.extend(blocks[1:])
        if len(combined) == combination:
            raise KeyboardInterrupt
        return factor_of(*blocks)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_factor", interrupted)
        with pytest.raises(KeyboardInterrupt):
            resumed(problem, tmp_path / "interrupted", [])
    found = resumed(problem, tmp_path / "interrupted", [])
    assert np.array_equal(found, resumed(problem, tmp_path / "whole", []))


# The benchmark of precision


def test_the_benchmark_sets_float32_beside_float64(tmp_path, capsys):
    data = small_table.write_data(tmp_path / "data")
    labels((6, 30), "small", n_target=60, json=True, data_dir=data)
    small, large = json.loads(capsys.readouterr().out)["rows"]
    for row in (small, large):
        assert row["n_target"] == 60 and row["label_difference"] < 1e-3
        assert abs(row["accuracy"] - row["accuracy_float64"]) <= 2 / row["n_test"]
    assert small["condition"] < large["condition"] and large["left_out"] == 0
    labels((6,), "small", n_target=60, data_dir=data)
    assert "left out" in capsys.readouterr().out
    for wrong, words in (((4,), "not the same number for"), ((0,), "must be positive")):
        with pytest.raises(UserError, match=words):
            labels(wrong, "small", data_dir=data)
