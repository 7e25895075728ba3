"""`--backend`, `--dtype` and `--threads` of a table script reach the kernel.

The columns of Table 1 are run with a network of one layer, which JAX compiles in a moment.
"""

import subprocess
import sys

import numpy as np
import pytest
import tiny_official
from commands import command, without_pictures

from paper_repro import table1_comparison as table1
from paper_repro.core.kernels.execution import Execution
from paper_repro.core.kernels.jax_backend.kernel import JaxKernel
from paper_repro.core.kernels.numba_backend.kernel import NumbaKernel
from paper_repro.core.methods.random_draw import natural_images
from paper_repro.core.runs.cell import cell_of
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.store.rows import read_rows

BACKENDS = {"numba": NumbaKernel, "jax": JaxKernel}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_official.write_sample(tmp_path_factory.mktemp("execution") / "data")


@pytest.fixture(scope="module")
def ran(data):
    """options -> the rows of LS and one KIP step, the kernels made for them, and their place."""
    made = {}

    def run(*options):
        if options not in made:
            kernels, real = [], Execution.kernel

            def kernel(self, spec):
                kernels.append(real(self, spec))
                return kernels[-1]

            out = data.parent / "-".join(map(str, options)).strip("-")
            chosen = ("--preset", "smoke", "--datasets", "svhn", "--ipc", "1", "--steps", "1")
            chosen += ("--methods", "LS", "KIP (l)")
            with pytest.MonkeyPatch.context() as patch, without_pictures():
                patch.setitem(table1.COLUMNS, "LS ConvNet", ("LS", "Conv-1"))
                patch.setitem(table1.COLUMNS, "KIP ConvNet no aug", ("KIP (l)", "Conv-1"))
                patch.setattr(Execution, "kernel", kernel)
                done = command(table1.main, *chosen, *options, "--data-dir", data, "--out", out)
            assert done.returncode == 0, done.stderr
            made[options] = read_rows(out / f"{table1.SCRIPT}.jsonl", smoke=True), kernels, out
        return made[options]

    return run


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_computes_every_kernel(ran, backend):
    rows, kernels, _ = ran("--backend", backend)
    assert [row["method"] for row in rows] == ["LS", "KIP (l)"]
    assert kernels and {type(kernel) for kernel in kernels} == {BACKENDS[backend]}
    assert {row["execution"]["backend"] for row in rows} == {backend}


def test_both_backends_give_the_same_rows(ran):
    for ours, theirs in zip(ran("--backend", "numba")[0], ran("--backend", "jax")[0], strict=True):
        assert ours["config_hash"] == theirs["config_hash"]
        assert ours["test_accuracy"] == pytest.approx(theirs["test_accuracy"], abs=1e-4)
        assert ours["test_mse"] == pytest.approx(theirs["test_mse"], rel=1e-3)
        for a, b in zip(ours.get("trajectory", ()), theirs.get("trajectory", ()), strict=True):
            assert a["test_mse"] == pytest.approx(b["test_mse"], rel=1e-3)


def test_threads_reach_the_kernel_and_change_no_bit(ran):
    one, kernels, _ = ran("--backend", "numba", "--threads", 1)
    assert {kernel.threads for kernel in kernels} == {1}
    for row, usual in zip(one, ran("--backend", "numba")[0], strict=True):
        assert (row["test_accuracy"], row["test_mse"]) == (
            usual["test_accuracy"],
            usual["test_mse"],
        )


def test_float64_goes_from_the_images_to_the_row(ran, data):
    rows, kernels, _ = ran("--dtype", "float64")
    assert {kernel.dtype for kernel in kernels} == {np.dtype(np.float64)}
    assert {row["execution"]["dtype"] for row in rows} == {"float64"}
    single = ran("--backend", "numba")[0]
    for row, other in zip(rows, single, strict=True):
        assert row["test_mse"] != other["test_mse"]
        assert row["test_mse"] == pytest.approx(other["test_mse"], rel=1e-3)
    # The same Label Solve by hand, with NumPy.
    cell = cell_of(rows[0]["config"])
    found = prepared_data(cell, data, Execution(dtype="float64"))
    problem, kernel = found.problem(cell), found.kernel_fn
    assert problem.dtype == np.float64
    x, _ = natural_images(problem, 1, 0)
    assert x.dtype == np.float64
    targets = found.transform.apply(problem.x_target, np.float64)
    test = found.transform.apply(found.dataset.x_test, np.float64)
    k_ts, k_ss, k_es = (np.asarray(kernel(a, x)) for a in (targets, x, test))
    alpha = np.linalg.lstsq(k_ts, problem.y_target, rcond=None)[0]
    error = k_es @ alpha - (np.eye(10)[found.dataset.y_test] - 0.1)
    # Labels are kept in float32 between the solve and the score.
    assert rows[0]["test_mse"] == pytest.approx(0.5 * np.mean(error**2), rel=1e-6)
    assert k_ss.dtype == np.float64


def test_rows_of_both_types_do_not_share_a_directory(ran, data):
    *_, out = ran("--dtype", "float64")
    arguments = ("--preset", "smoke", "--datasets", "svhn", "--ipc", "1", "--methods", "LS")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table1.COLUMNS, "LS ConvNet", ("LS", "Conv-1"))
        done = command(table1.main, *arguments, "--data-dir", data, "--out", out)
    assert done.returncode == 2
    assert "computed in float64" in done.stderr and "choose another --out" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backend", "torch"), "invalid choice 'torch' for argument '--backend'"),
        (("--dtype", "float16"), "invalid choice 'float16' for argument '--dtype'"),
        (("--backend", "jax", "--threads", "2"), "the jax backend has no option threads"),
        (("--threads", "0"), "threads must be positive, not 0"),
        (("--execution", "slurm"), "--execution is local, ray or ray://HOST:PORT, not 'slurm'"),
        (("--execution", "ray://head"), "ray or ray://HOST:PORT, not 'ray://head'"),
        (("--workers", "2"), "--workers is for --execution ray: leave it out"),
        (("--execution", "ray", "--workers", "0"), "--workers must be at least 1, not 0"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_executions_that_cannot_be_are_refused(options, words, data, tmp_path):
    arguments = ("--preset", "smoke", "--datasets", "svhn", "--ipc", "1", "--methods", "LS")
    done = command(table1.main, *arguments, *options, "--data-dir", data, "--out", tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert read_rows(tmp_path / f"{table1.SCRIPT}.jsonl", smoke=True) == []


WITHOUT_RAY = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
sys.meta_path.insert(0, NoRay())
from paper_repro import evaluate
from paper_repro.core import cli
cli.run(evaluate.main)
"""


def test_without_the_extra_ray_is_one_line_that_says_what_to_install(data, tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((10, 8, 8, 3)), labels=np.arange(10))
    words = [tmp_path / "set.npz", "--execution", "ray", "--data-dir", data, "--dataset", "svhn"]
    command = [sys.executable, "-c", WITHOUT_RAY, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: --execution ray needs Ray, which is not installed: pip install 'kip-repro[ray]'\n"
    )
