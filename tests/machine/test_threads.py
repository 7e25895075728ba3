"""Prepared images and kernels in forked children, and in threads that call at once.

Each case is a process of its own, because it must have used its threads before it forks, and a
timeout in it, because what used to fail here waited for ever.
"""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

START = """
import os, threading, time
import numpy as np
from paper_repro.core.kernels import network_kernel
from paper_repro.core.preprocess import Standard
from paper_repro.core.preprocess.augment import Augmentation

X = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3)).astype(np.uint8)
STANDARD, AUGMENTATION = Standard.fit(X), Augmentation()
KERNEL = network_kernel("conv-1", backend="numba", threads=2)
SMALL = X[:5, :4, :4].astype("float32")

def images(i=0):
    return STANDARD.apply(X).tobytes(), AUGMENTATION.apply(X, np.random.default_rng(i)).tobytes()

def entries(i=0):
    held = KERNEL.hold(SMALL)
    k, pull = KERNEL.with_pullback(SMALL, held[np.array([0, 3])])
    both = KERNEL.vjp(SMALL, None, np.eye(5)), KERNEL(SMALL, SMALL[:2]), pull(np.ones((5, 2)))
    return tuple(np.asarray(a).tobytes() for a in (*both, KERNEL(SMALL)))
"""


def printed(body, timeout=180, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("work", ["images", "entries"])
def test_forked_children_compute_what_the_parent_computes(work):
    body = f"""
    import multiprocessing
    wanted = {work}()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async({work}, [0] * 4).get(timeout=60) == [wanted] * 4
    print("same")
    """
    assert printed(body) == "same"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_workers_of_a_data_loader_prepare_images():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: make torch")
    body = """
    import torch
    class Prepared(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)
        def __getitem__(self, i):
            raw = AUGMENTATION.apply(X[i : i + 1], np.random.default_rng(i))
            return torch.from_numpy(STANDARD.apply(raw)[0])
        def __getitems__(self, rows):  # a batch at once: enough work for threads
            raw = AUGMENTATION.apply(X[rows], np.random.default_rng(0))
            return list(torch.from_numpy(STANDARD.apply(raw)))
    images()
    loader = torch.utils.data.DataLoader(Prepared(), 100, num_workers=2, timeout=60)
    found = torch.cat(list(loader)).numpy()
    parts = [AUGMENTATION.apply(X[a : a + 100], np.random.default_rng(0)) for a in (0, 100, 200)]
    assert np.array_equal(found, STANDARD.apply(np.concatenate(parts)))
    print("same")
    """
    assert printed(body) == "same"


@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_any_number_of_threads_may_call_at_once(layer):
    body = """
    wanted, found = (images(), entries()), []
    def work():
        for _ in range(5):
            found.append((images(), entries()))
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(len(found), set(found) == {wanted})
    """
    assert printed(body, NUMBA_THREADING_LAYER=layer) == "20 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_another_thread_compiles_does_not_wait_for_it(tmp_path):
    body = """
    STANDARD.apply(X)
    started = threading.Event()
    def compile_more():
        started.set()
        for dtype in ("uint16", "uint32", "int16", "int32"):
            STANDARD.apply(X.astype(dtype))
    thread = threading.Thread(target=compile_more)
    thread.start(), started.wait(), time.sleep(0.2)
    if not (child := os.fork()):
        STANDARD.apply(X.astype("int8"))
        os._exit(0)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
    thread.join()
    print(done == child, status)
    """
    assert printed(body, NUMBA_CACHE_DIR=str(tmp_path)) == "True 0"


def test_the_numba_backend_runs_no_program_of_xla():
    body = """
    from jax._src import xla_bridge
    entries(), KERNEL.parameter_vjp(SMALL, SMALL, np.ones((5, 5)))
    print(xla_bridge.backends_are_initialized())
    """
    assert printed(body, JAX_PLATFORMS="cuda") == "False"
