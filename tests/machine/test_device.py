"""A shell that tells JAX to use a device that this machine has not."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from paper_repro.core.data import write_own

USE = """
import numpy as np
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec, network_kernel
x = np.random.default_rng(0).random((3, 4, 4, 1)).astype("float32")
def refusal(make):
    try:
        make()
    except UserError as error:
        return str(error)
for make in (
    lambda: network_kernel("conv-1"),
    lambda: network_kernel("conv-1", backend="jax")(x),
    lambda: network_kernel("conv-1", backend="jax").vjp(x, x, np.ones((3, 3))),
    lambda: network_kernel("conv-1", backend="neural_tangents")(x),
    lambda: network_kernel("fc1")(x),
    lambda: Execution(backend="numba").kernel(KernelSpec("RBF"))(x),
):
    print(refusal(make))
kernel = network_kernel("conv-1", backend="numba")
print(np.asarray(kernel(x)).tobytes().hex(), kernel.vjp(x, x, np.ones((3, 3))).shape)
"""


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def computed_here():
    return run("-c", USE.replace("print(refusal(make))", "pass")).stdout.strip()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    images = rng.integers(0, 60, (60, 5, 5, 1)) + 60 * labels[:, None, None, None]
    folder = tmp_path_factory.mktemp("data")
    write_own(folder / "dots.npz", images.astype(np.uint8), labels)
    return folder


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="this machine has such a device")
@pytest.mark.parametrize("platform", ["cuda", "gpu", "tpu", "metal"])
def test_what_needs_the_device_is_refused_in_one_line_and_numba_works(platform, computed_here):
    done = run("-c", USE, JAX_PLATFORMS=platform)
    assert done.returncode == 0, done.stderr[-2000:]
    *refused, computed = done.stdout.splitlines()
    assert len(refused) == 6
    for line in refused:
        assert line.startswith(f"JAX cannot use what JAX_PLATFORMS={platform} names")
        assert "unset it" in line and "--backend numba" in line
    assert computed == computed_here


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="this machine has such a device")
def test_commands(data, tmp_path):
    words = ["--datasets", "dots", "--data-dir", data, "--architectures", "Conv-1", "--steps", 2]
    command = ["-m", "paper_repro.distill", *words, "--methods", "LS", "KIP (l)", "--out", tmp_path]
    for name, backend in (("JAX_PLATFORMS", "auto"), ("JAX_PLATFORM_NAME", "jax")):
        done = run(*command, "--backend", backend, **{name: "gpu"})
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert f"JAX cannot use what {name}=gpu names" in done.stderr
    done = run(*command, "--backend", "numba", JAX_PLATFORMS="cuda")
    assert done.returncode == 0, done.stderr
    said = "warning: JAX uses the CPU, not what JAX_PLATFORMS=cuda names\n"
    assert said in done.stderr and "KIP (l) ipc=1 seed=0: test accuracy" in done.stderr


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="this machine has such a device")
def test_what_no_function_of_ours_asks_for_is_one_line_of_a_command_as_well():
    body = "import jax.numpy as jnp\nfrom paper_repro.core import cli\n"
    body += "def main() -> None:\n    '''Do it.'''\n    {}\ncli.run(main)\n"
    done = run("-c", body.format("jnp.zeros(3)"), JAX_PLATFORMS="cuda")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: JAX cannot use what JAX_PLATFORMS=cuda names")
    # A mistake of ours is not taken for it where the device is there.
    done = run("-c", body.format("assert False"), JAX_PLATFORMS="cpu")
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize("name, value", [("JAX_ENABLE_X64", "maybe"), ("JAX_NUM_CPU_DEVICES", "x")])
def test_a_variable_that_jax_does_not_understand_is_named(name, value):
    body = (
        "from paper_repro.core import cli\ndef main() -> None:\n    '''Do it.'''\n    import jax\n"
    )
    done = run("-c", body + "cli.run(main)", **{name: value})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the environment variable {name}={value} is wrong (")
