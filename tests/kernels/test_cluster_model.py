"""The model of a cluster against figures worked out by hand, and the split in a run's identity."""

import numpy as np
import pytest

from paper_repro.benchmark.cluster import WORKERS, Costs, blocks_of, modelled, table_seconds
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.pool.in_process import InProcess
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard

COSTS = Costs(forward=1e-4, gradient=4e-4, task=0.0, driver=0.0, bandwidth=float("inf"))


def test_a_step_is_its_blocks_in_waves():
    # 20 blocks of 256 targets and the supports with themselves, one after another.
    assert blocks_of(10, 5_000) == 21
    seconds, spent = COSTS.step(10, 5_000, 1)
    assert (seconds, spent) == (pytest.approx(21 * 10 * 256 * 5e-4), 0)
    assert COSTS.step(10, 5_000, 21)[0] == pytest.approx(10 * 256 * 5e-4)
    assert COSTS.solve(10, 50_000, 100) == pytest.approx(500 * 10 * 1e-4)


def test_more_workers_help_until_there_are_no_more_blocks():
    lines = modelled(COSTS)
    for i in range(3):
        seconds = [line["steps"][i]["seconds"] for line in lines]
        assert seconds == sorted(seconds, reverse=True)
    assert [line["workers"] for line in lines] == list(WORKERS)
    assert table_seconds(COSTS, 10) > 9 * table_seconds(COSTS, 100) / 10 > 0


def test_how_gradients_are_cut_is_part_of_the_identity_of_a_run():
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1)).astype(np.uint8)

    def identity(pool):
        kernel = Execution("numba", pool=pool).kernel(KernelSpec("convnet"))
        problem = Problem(images, np.arange(10), 10, Standard.fit(images), kernel_fn=kernel)
        return problem.identity({}, 0)

    assert identity(None) == identity(InProcess()) == identity(InProcess(256))
    assert identity(None) != identity(InProcess(128))
