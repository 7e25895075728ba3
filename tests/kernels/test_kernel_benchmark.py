"""The benchmark's rows, and how the kernels compare with neural-tangents (slow)."""

import json
import re
import subprocess
import sys
import time

import pytest
from commands import command

from paper_repro.benchmark.__main__ import COMMANDS
from paper_repro.benchmark.kernel import compare
from paper_repro.benchmark.measure import best_seconds, peak_gflops

FIELDS = [
    "architecture",
    "shape",
    "backend",
    "mode",
    "dtype",
    "n_pairs",
    "ms_per_pair",
    "peer_ms_per_pair",
    "ratio",
    "max_rel_err",
    "peak_mb",
]

# A first network in one process: 100 images against 10,000, whole matrix.
LARGE = """
import numpy as np
from paper_repro.core.kernels import network_kernel
rng = np.random.default_rng(0)
x2 = rng.standard_normal((10_000, 32, 32, 3), dtype="float32")
k = network_kernel("convnet", backend="numba")(x2[:100] + 1, x2)
assert k.shape == (100, 10_000)
# Not resource.getrusage, which counts what the parent held when it started this process.
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(line.split()[1]) / 1024)
"""


def test_rows_have_the_agreed_fields():
    rows = compare("conv-3", (6, 6, 1), ("numba",), "float32", quick=True)
    assert [row["mode"] for row in rows] == ["forward", "gradient"]
    for row in rows:
        assert list(row) == FIELDS
        assert row["n_pairs"] == 8 * 128
        assert row["ratio"] == row["peer_ms_per_pair"] / row["ms_per_pair"]
        assert row["max_rel_err"] < 1e-5
    json.dumps(rows)


def test_the_roofline_is_printed_beside_every_row():
    words = ["--architectures", "conv-1", "fc1", "--shapes", "mnist", "--backends", "numba"]
    done = command(
        COMMANDS["kernel"], *words, "--quick", "--pairs", 16, "--roofline", "--no-growth"
    )
    assert done.returncode == 0, done.stderr
    (header,) = (line for line in done.stdout.splitlines() if "of peak" in line)
    assert "Mflop/pair" in header and "Gflop/s" in header
    peak = float(re.search(r"([\d.,]+) Gflop/s in float32", done.stdout)[1].replace(",", ""))
    rows = [line for line in done.stdout.splitlines() if "Conv-1" in line]
    assert len(rows) == 2
    for row in rows:
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        mflop, rate, share = float(cells[-3]), float(cells[-2]), cells[-1]
        assert rate == pytest.approx(mflop / float(cells[6]), rel=0.6)
        assert float(share.removesuffix(" %")) == pytest.approx(100 * rate / peak, abs=1)
    refused = command(COMMANDS["kernel"], "--pairs", 12)
    assert refused.returncode == 2 and "multiple of 8" in refused.stderr


def test_help_is_quick():
    start = time.monotonic()
    command = [sys.executable, "-m", "paper_repro.benchmark", "kernel", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
    assert time.monotonic() - start < 10


def test_unknown_names_end_in_one_line():
    command = [sys.executable, "-m", "paper_repro.benchmark", "kernel", "--backends", "torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_measurements():
    assert best_seconds(lambda: time.sleep(0.01), 0.05) >= 0.01
    assert peak_gflops(1, 2) > 0.1


@pytest.mark.parametrize("kept", ["", "bytearray(b'x') * 60_000_000"])
def test_memory_beyond_the_start_is_measured(kept):
    """In a process of its own; also where malloc keeps what an earlier call freed."""
    code = f"""if True:
        import time
        from paper_repro.benchmark.measure import peak_memory
        from paper_repro.core.machine.memory import keep_freed_memory
        keep_freed_memory()
        {kept}
        with peak_memory() as memory:
            held = b"x" * 50_000_000
            time.sleep(0.1)
        assert 40 <= memory.mb <= 120, memory.mb
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ratios_to_neural_tangents():
    """Both sides are timed in one process, so the load of the machine affects them alike."""
    command = [sys.executable, "-m", "paper_repro.benchmark", "kernel", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {(row["backend"], row["mode"]): row for row in json.loads(done.stdout)["rows"]}
    # Half of what an idle machine of two cores measures.
    least = {
        ("numba", "forward"): 300,
        ("numba", "gradient"): 220,
        ("jax", "forward"): 5,
        ("jax", "gradient"): 2.5,
    }
    for key, ratio in least.items():
        assert rows[key]["ratio"] >= ratio, rows[key]
        assert rows[key]["max_rel_err"] < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_matrix_in_little_memory():
    command = [sys.executable, "-c", LARGE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1500
