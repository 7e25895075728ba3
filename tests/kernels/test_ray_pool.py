"""KIP and Label Solve on a real Ray of three nodes whose workers vanish, to the last bit."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import ray_nodes

from paper_repro.core.errors import UserError, WorkersGone
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.pool.scheduling import Limits
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods import label_solve as solve
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.kip.training import run
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import ZCA, Standard
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.sets.scoring import held_out, score

pytest.importorskip("ray")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (400, 8, 8, 1)).astype(np.uint8)
LABELS = np.arange(400) % 4
TRAIN, TEST = slice(0, 320), slice(320, None)
LIMITS = Limits(least=2.0, absent=1.0)


def _kernel(pool=None):
    kernel = Execution(backend="numba", threads=1, pool=pool).kernel(KernelSpec("convnet"))
    kernel.gradient_block = 3, 50
    kernel.block_pairs = 200
    return kernel


def _kip(directory, pool=None, transform=None, steps=2, **options):
    """The images, labels and score of a KIP run."""
    kernel, transform = _kernel(pool), transform or Standard.fit(IMAGES[TRAIN])
    test = held_out(kernel, transform, IMAGES[TEST], LABELS[TEST], 4)
    train = IMAGES[TRAIN], LABELS[TRAIN]
    problem = Problem(*train, 4, transform, test=test, kernel_fn=kernel)
    config = KIPConfig(2, steps, 220, learn_labels=True, **options)
    learned = run(problem, config, 0, directory)
    return learned.images, learned.labels, np.array(score(learned, test, kernel))


def _solved(pool=None, **options):
    kernel, transform = _kernel(pool), Standard.fit(IMAGES[TRAIN])
    y = centred_one_hot(LABELS[TRAIN], 4)
    support = transform.apply(IMAGES[:8])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "BLOCK", 40)
        return solve.label_solve(kernel, support, IMAGES[TRAIN], y, transform, **options)


@pytest.fixture(scope="module")
def cluster():
    started, known = time.monotonic(), []
    with pytest.MonkeyPatch.context() as patch:
        cluster = ray_nodes.start(patch.setenv)
        cluster.seen_pids = known
        try:
            yield cluster
        finally:
            import ray

            ray.shutdown()
            cluster.shutdown()
    # Nothing is left of the cluster, whatever the tests have killed or stopped.
    deadline = time.monotonic() + 20
    while any(map(ray_nodes.is_running, known)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert known and not [pid for pid in known if ray_nodes.is_running(pid)]
    print(f"cluster of {time.monotonic() - started:.0f} s", file=sys.stderr)


@pytest.fixture(scope="module")
def pool(cluster):
    from paper_repro.core.kernels.pool.ray import RayPool

    pool = RayPool("ray", limits=LIMITS)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def seen(request, cluster):
    yield
    if "pool" not in request.fixturenames:
        return
    pool = request.getfixturevalue("pool")
    cluster.seen_pids += [facts["pid"] for facts in pool.crew.ready.values()]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return _kip(tmp_path_factory.mktemp("here")), _solved()


def _ready(pool, n):
    deadline = time.monotonic() + 90
    while len(pool.crew.workers()) != n and time.monotonic() < deadline:
        pool.crew.wait([], 0.2)
    assert len(pool.crew.workers()) == n


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_one_two_and_three_workers_give_the_bits_of_one_process(pool, here, tmp_path):
    for n in (1, 2, 3):
        pool.crew.most = n
        _ready(pool, n)
        assert _same(_kip(tmp_path / str(n), pool), here[0])
        assert np.array_equal(_solved(pool), here[1])
    assert pool.repeated == 0
    assert pool.status == "3 workers, 0 blocks in flight, 0 repeated"


@pytest.mark.parametrize("fit", [Standard.fit, ZCA.fit], ids=["standard", "zca"])
def test_augmented_targets_made_by_workers_have_the_bits_of_one_process(fit, pool, tmp_path):
    options = {"transform": fit(IMAGES[TRAIN]), "augmentation": Augmentation(), "steps": 1}
    wanted = _kip(tmp_path / "here", **options)
    assert _same(_kip(tmp_path / "there", pool, **options), wanted)


def test_workers_killed_in_the_middle_of_a_step(pool, here, tmp_path):
    _ready(pool, 3)
    before = pool.repeated
    thread = ray_nodes.send_in_flight(pool, signal.SIGKILL, 2)
    assert _same(_kip(tmp_path, pool), here[0])
    thread.join()
    assert pool.repeated > before
    _ready(pool, 3)
    thread = ray_nodes.send_in_flight(pool, signal.SIGKILL)
    before = pool.repeated
    assert np.array_equal(_solved(pool), here[1])
    thread.join()
    assert pool.repeated > before


def test_a_node_removed_and_another_added(cluster, pool, here, tmp_path):
    pool.crew.most = None
    _ready(pool, 3)
    (node,) = list(cluster.worker_nodes)[-1:]

    def report(step, of, figures):
        if step == 1:
            cluster.remove_node(node)
            ray_nodes.add(cluster)

    kernel, transform = _kernel(pool), Standard.fit(IMAGES[TRAIN])
    test = held_out(kernel, transform, IMAGES[TEST], LABELS[TEST], 4)
    problem = Problem(IMAGES[TRAIN], LABELS[TRAIN], 4, transform, test=test, kernel_fn=kernel)
    config = KIPConfig(2, 2, 220, learn_labels=True)
    learned = run(problem, config, 0, tmp_path, report)
    assert np.array_equal(learned.images, here[0][0])
    assert np.array_equal(learned.labels, here[0][1])
    _ready(pool, 3)
    assert np.array_equal(_solved(pool), here[1])


@pytest.mark.parametrize("fault", ray_nodes.FAULTS, ids=lambda fault: fault.__name__)
def test_a_block_that_fails_is_done_again_and_counts_once(fault, pool, tmp_path):
    _ready(pool, 3)
    blocks = [(np.arange(5.0) + i, tmp_path) for i in range(6)]
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "called").touch()
    warm_up = [(np.ones(5), tmp_path / "before")] * 6  # every worker measures the rate
    assert len(list(pool.map(fault, warm_up))) == 6
    for block, expected in zip(pool.map(fault, blocks), blocks, strict=True):
        doubled = 2 * expected[0]
        if fault is ray_nodes.nan_always:
            doubled = np.where(expected[0] > 0, expected[0], np.nan)
        np.testing.assert_array_equal(block, doubled)


def test_what_the_work_raises_is_raised_here(pool):
    kernel = _kernel(pool)
    x = np.zeros((3, 2, 2, 1), np.float32)  # too small for three pools
    with pytest.raises(UserError):
        kernel.with_pullback(x, np.ones((3, 2, 2, 1), np.float32))


def test_without_workers_a_run_stops_with_its_state_saved(pool, here, tmp_path, capfd):
    def stop(step, of, figures):
        if step == 1:
            pool.crew.most = 0
            for worker in list(pool.crew.ready):
                pool.crew.discard(worker)

    _ready(pool, 3)
    kernel, transform = _kernel(pool), Standard.fit(IMAGES[TRAIN])
    test = held_out(kernel, transform, IMAGES[TEST], LABELS[TEST], 4)
    problem = Problem(IMAGES[TRAIN], LABELS[TRAIN], 4, transform, test=test, kernel_fn=kernel)
    config = KIPConfig(2, 2, 220, learn_labels=True)
    with pytest.raises(WorkersGone, match="same command goes on"):
        run(problem, config, 0, tmp_path, stop)
    assert "no worker is ready: waiting up to 1 s" in capfd.readouterr().err
    pool.crew.most = None
    steps = []
    _ready(pool, 3)
    learned = run(problem, config, 0, tmp_path, lambda step, of, figures: steps.append(step))
    assert steps == [2]
    assert np.array_equal(learned.images, here[0][0])


def test_a_node_with_other_versions_is_refused_by_name(cluster, pool, tmp_path, capfd):
    from paper_repro.core.kernels.pool.ray import RayPool

    other = tmp_path / "numba-0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.1\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    node = ray_nodes.add(cluster, env_vars={"PYTHONPATH": path})
    try:
        deadline = time.monotonic() + 60
        said = ""
        while "numba" not in said and time.monotonic() < deadline:
            pool.crew.workers()
            pool.crew.wait([], 0.2)
            said += capfd.readouterr().err
        assert "has numba 0.1 where this machine has" in said and "it is not used" in said
        fresh = RayPool("ray", limits=Limits(absent=60))
        with pytest.raises(UserError, match=r"node .* has numba 0\.1 where this machine has"):
            list(fresh.map(ray_nodes.nan_always, [(np.ones(2), tmp_path)] * 1000))
        fresh.close()
    finally:
        cluster.remove_node(node)


@pytest.mark.slow
def test_fifty_kills_at_random_in_a_longer_run(cluster, tmp_path):
    from paper_repro.core.kernels.pool.ray import RayPool

    pool = RayPool("ray", limits=Limits(least=2.0, absent=120.0))  # all may be dead at once
    _ready(pool, 3)
    wanted = _kip(tmp_path / "here", steps=60)
    rng, before, kills, stopped = np.random.default_rng(1), pool.repeated, [], threading.Event()

    def kill_at_random():
        while len(kills) < 50 and not stopped.wait(rng.uniform(0.2, 3.0)):
            facts = list(pool.crew.ready.values())
            if facts:
                kills.append(facts[rng.integers(len(facts))]["pid"])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(kills[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill_at_random)
    thread.start()
    started, runs = time.monotonic(), 0
    try:
        while thread.is_alive():
            assert _same(_kip(tmp_path / str(runs), pool, steps=60), wanted)
            runs += 1
    finally:
        stopped.set()
        thread.join()
        cluster.seen_pids += kills
        pool.close()
    took = time.monotonic() - started
    print(f"{len(kills)} kills, {runs} runs of 60 steps, {pool.repeated - before} blocks repeated")
    print(f"{took:.0f} s")
    assert len(kills) == 50 and runs >= 1


DRIVER = """
import sys
from pathlib import Path
import numpy as np
from test_ray_pool import _kip
from paper_repro.core.store import checkpoint
from paper_repro.core.kernels.pool.ray import RayPool
checkpoint.SECONDS = 0.0
found = _kip(Path(sys.argv[1]) / "run", RayPool("ray"), steps=4)
np.savez(Path(sys.argv[1]) / "found.npz", *found)
"""


def test_a_driver_that_is_killed_and_started_again_ends_in_the_same_bits(cluster, pool, tmp_path):
    pool.crew.most = 0  # room for the workers of the other process
    for worker in list(pool.crew.ready):
        pool.crew.discard(worker)
    path = os.pathsep.join([os.environ["PYTHONPATH"], os.path.dirname(__file__)])
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path}
    losses = tmp_path / "run" / "losses.jsonl"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(subprocess.Popen(command, env=environment))
        while first.poll() is None and not (losses.exists() and losses.stat().st_size):
            time.sleep(0.002)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert _same(found.values(), _kip(tmp_path / "here", steps=4))
    pool.crew.most = None


def test_ray_is_imported_in_one_module_alone():
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    words = ["git", "grep", "-lE", r"^\s*(import|from) ray\b", "--", "paper_repro", "release"]
    found = subprocess.run(words, cwd=root, capture_output=True, text=True).stdout.split()
    assert found == ["paper_repro/core/kernels/pool/ray.py"]
    assert shutil.which("git")
