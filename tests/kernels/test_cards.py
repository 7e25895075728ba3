"""Blocks spread over several devices of one process: the same bits whatever their number."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import jax, numpy as np
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.pool.cards import Cards, current_card
from paper_repro.core.kernels.pool.in_process import InProcess
sys.path.insert(0, {tests!r})
from process_pool import ProcessPool

assert len(jax.devices()) == 3
rng = np.random.default_rng(0)
x1, x2 = (rng.normal(size=(n, 4, 5, 2)).astype("float32") for n in (6, 90))
seeds, rows = rng.normal(size=(6, 90)), np.array([88, 3, 3, 41, 7, 70, 12, 5, 60, 33, 21])


def computed(spec, pool):
    kernel = Execution("jax", pool=pool).kernel(spec)
    kernel.block_pairs = 128
    held = kernel.hold(x2)
    k, pull = kernel.with_pullback(x1, held)
    k_rows, pull_rows = kernel.with_pullback(x1, held[rows])
    found = [k, pull(seeds), k_rows, pull_rows(seeds[:, rows]), kernel(x1, held), kernel(x1)]

    if spec.learn_scale:
        found.append(kernel.parameter_vjp(x1, held, seeds)["scale"])
    return found


def same(found, wanted):
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


for spec in (KernelSpec("conv-1"), KernelSpec("fc1", "NNGP"), KernelSpec("RBF", learn_scale=True)):
    wanted = computed(spec, InProcess(16))
    for devices in (1, 2, None):
        assert same(computed(spec, Cards(16, devices)), wanted), (spec, devices)
    assert all(np.isfinite(a).all() for a in wanted)
from pathlib import Path
pool = ProcessPool(Path({folder!r}), 16)
spec = KernelSpec("fc1", "NNGP")
assert same(computed(spec, pool), computed(spec, Cards(16)))
pool.close()


def place(block):
    return block, current_card(), jax.numpy.zeros(1).devices() == {{jax.devices()[current_card()]}}


found = list(Cards().map(place, [(n,) for n in range(30)]))
assert found == [(n, n % 3, True) for n in range(30)]
print("same bits")
"""


def test_any_number_of_devices_and_processes(tmp_path):
    path = tmp_path / "code.py"
    code = CODE.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    # A process that the pool starts anew imports the file again.
    path.write_text(f"def main():\n{_indented(code)}\nif __name__ == '__main__':\n    main()\n")
    flags = "--xla_force_host_platform_device_count=3"
    done = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
        timeout=500,
    )
    assert done.returncode == 0 and done.stdout == "same bits\n", done.stderr[-3000:]


def _indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())
