"""The machine code of the two hot CUDA kernels keeps within what a card has, and is short."""

import importlib.util
import json
from importlib import metadata
from pathlib import Path

import pytest

from paper_repro.benchmark.static import CAPABILITIES, measure
from paper_repro.core.kernels.architecture import convnet
from paper_repro.core.kernels.cuda_backend.source import SHARED_BYTES
from paper_repro.core.kernels.cuda_backend.static import disassembler, shuffles, warp_rows
from paper_repro.core.kernels.plan import plan

RESULTS = Path(__file__).resolve().parents[2] / "results" / "cuda_static.json"
BLOCKS = {"forward": 2, "reverse": 1}
INSTRUCTIONS = {"forward": 110, "reverse": 300}
"""A row of one offset with two ReLUs; the first kernel's forward pass had 241."""

has_bindings = (
    importlib.util.find_spec("cuda") is not None
    and importlib.util.find_spec("cuda.bindings") is not None
)
needs_wheels = pytest.mark.skipif(
    not has_bindings or disassembler() is None,
    reason="needs the wheels cuda-bindings (8 MB), nvidia-cuda-nvrtc (58 MB; 142 installed) and "
    "nvidia-cuda-nvdisasm (5 MB)",
)


@needs_wheels
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1)])
def test_registers_spills_shared_memory_and_instructions(shape):
    found = measure((shape,))
    assert [row["capability"] for row in found["rows"]] == list(CAPABILITIES)
    for row in found["rows"]:
        for kernel, blocks in BLOCKS.items():
            used, where = row[kernel], (row["capability"], kernel)
            assert used["registers"] * 32 * used["warps"] * blocks <= 65_536, where
            assert (used["shared_bytes"] + 1024) * blocks <= SHARED_BYTES + 1024, where
            assert used["instructions_per_row"] <= INSTRUCTIONS[kernel], where
            spilled = used["spill_stores"] + used["spill_loads"]
            if kernel == "forward":
                assert spilled == 0, where
            elif row["capability"] != "80":
                # One register at most, and outside of the loop.
                assert spilled <= 8 and used["spill_instructions_in_loop"] == 0, where
            else:
                assert spilled <= 80, where
    if metadata.version("nvidia-cuda-nvrtc") == kept()["compiler"]["nvidia-cuda-nvrtc"]:
        text = "x".join(map(str, shape))
        assert found["rows"] == [row for row in kept()["rows"] if row["shape"] == text]


def kept():
    return json.loads(RESULTS.read_text())


def test_the_kept_figures_and_their_arithmetic():
    for estimate in kept()["estimates"]:
        (row,) = (
            row
            for row in kept()["rows"]
            if (row["shape"], row["capability"]) == (estimate["shape"], "90")
        )
        kernels = ("forward",) if estimate["mode"] == "forward" else BLOCKS
        count = sum(row[kernel]["instructions_per_pair"] for kernel in kernels)
        assert estimate["estimate_us_per_pair"] == pytest.approx(count / 1_045_440, abs=1e-3)
        assert "estimate" in estimate["how"] and f"{count:,}" in estimate["how"]
        # Nothing can be faster than what every instruction takes.
        assert estimate["estimate_us_per_pair"] < estimate.get("measured_us_per_pair", 1e3)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (9, 11, 1)])
def test_rows_of_warps_are_those_that_the_kernels_loop_over(shape):
    """Counted as the loops of ntk.h and reverse.h do, offset by offset."""
    planned = plan(convnet(), shape)
    (ry, rx), height = planned.segments[0].radius, shape[0]
    n = planned.segments[0].n_layers
    forward = 0
    for residue in range(min(3, 2 * ry + 1)):
        for first, step in ((0, 2), (1, 4), (3, 4)):
            columns = [dx for dx in range(-rx, rx + 1) if dx % step == first % step]
            for dy in range(-ry + residue, ry + 1, 3):
                forward += -(-len(columns) // 2) * (height - abs(dy) + n)
    assert warp_rows(planned, "forward") == forward
    reverse = sum((rx + 1) * (height - abs(dy) + 2 * n) for dy in range(-ry, ry + 1))
    assert warp_rows(planned, "reverse") == reverse
    assert shuffles(planned, "forward") == 6 and shuffles(planned, "reverse") == 14 + shape[2]
