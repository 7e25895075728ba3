"""What the machine code of the kernels says without a card: registers, spills, instructions a row.

NVRTC compiles for any card on any machine, and `nvdisasm` (the wheel nvidia-cuda-nvdisasm) lists
the instructions. Those of the innermost loop that carries most shuffles are counted: every row of
two offsets takes a fixed number of shuffles, so that they tell how many rows a turn of the loop
has, however the compiler unrolled it.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.cuda_backend.compile import compiled, resources
from paper_repro.core.kernels.cuda_backend.source import Program
from paper_repro.core.kernels.plan import Plan

HOT = ("forward", "reverse")
DISASSEMBLER = "nvidia-cuda-nvdisasm"


@dataclasses.dataclass(frozen=True)
class Loop:
    """An innermost loop of machine code.

    Attributes:
      instructions: how many of each kind, by the first part of their names (`FFMA`).
    """

    instructions: Counter

    @property
    def size(self) -> int:
        """All instructions."""
        return sum(self.instructions.values())


def disassembler() -> str | None:
    """The program nvdisasm, of the wheel or of the system; None where there is none."""
    try:
        files = metadata.files(DISASSEMBLER) or ()
    except metadata.PackageNotFoundError:
        files = ()
    found = [file.locate() for file in files if file.name in ("nvdisasm", "nvdisasm.exe")]
    return str(found[0]) if found else shutil.which("nvdisasm")


def disassembled(code: bytes) -> str:
    """Machine code as text.

    Raises:
      UserError: nvdisasm is missing, or does not read the code.
    """
    program = disassembler()
    if program is None:
        raise UserError(f"nvdisasm is missing: pip install {DISASSEMBLER} (5 MB)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.cubin"
        path.write_bytes(code)
        done = subprocess.run([program, "-c", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"nvdisasm refuses the machine code: {done.stderr.strip()[:500]}")
    return done.stdout


def loops(text: str, kernel: str) -> list[Loop]:
    """The innermost loops of a kernel in disassembled code, those with most shuffles alone.

    Example:
      >>> text = '''.text.forward:
      ... .L_x_0:
      ...   /*0000*/   SHFL.UP PT, R1, R2, 0x1 ;
      ...   /*0010*/   @!P0 FFMA R1, R1, R2, R3 ;
      ...   /*0020*/   @P0 BRA `(.L_x_0) ;
      ... .text.other:'''
      >>> [loop.size for loop in loops(text, "forward")]
      [3]
    """
    labels, instructions = {}, []
    inside = False
    for line in text.splitlines():
        if start := re.match(r"\.text\.(\w+):", line):
            inside = start[1] == kernel
        elif inside and (label := re.match(r"(\.L_\w+):", line)):
            labels[label[1]] = len(instructions)
        elif inside and (found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;", line)):
            instructions.append(found[1])
    spans = []
    for at, instruction in enumerate(instructions):
        jump = re.search(r"\bBRA\b.*`\((\.L_\w+)\)", instruction)
        if jump and labels.get(jump[1], at + 1) <= at:
            spans.append((labels[jump[1]], at + 1))
    innermost = [
        (a, b) for a, b in spans if not any(a <= c and d <= b for c, d in spans if (c, d) != (a, b))
    ]
    found = [Loop(Counter(map(_kind, instructions[a:b]))) for a, b in innermost]
    most = max((loop.instructions["SHFL"] for loop in found), default=0)
    return [loop for loop in found if loop.instructions["SHFL"] == most]


def report(plan: Plan, program: Program, capability: str) -> dict[str, dict[str, Any]]:
    """Figures of the two hot kernels in float32 for one kind of card.

    A row is one of one offset, with all of its activations (two in the paper's ConvNet): a warp
    has two at a time.

    Args:
      plan: what the program executes.
      program: its sources.
      capability: of the card, such as `90`.

    Returns:
      By kernel: registers, spills and shared memory (bytes), warps of a block,
      `instructions_per_row`, `spill_instructions_in_loop`, and `instructions_per_pair`: of a warp,
      all rows of the first segment.

    Raises:
      UserError: NVRTC or nvdisasm is missing.
    """
    found = {}
    for kernel in HOT:
        code, said = compiled(program.unit(kernel), capability)
        hot = loops(disassembled(code), kernel)
        size = sum(loop.size for loop in hot)
        rows = 2 * sum(loop.instructions["SHFL"] for loop in hot) / shuffles(plan, kernel)
        spilled = sum(loop.instructions[kind] for loop in hot for kind in ("LDL", "STL"))
        found[kernel] = {
            **resources(said)[kernel],
            "shared_bytes": program.shared_bytes(kernel),
            "warps": program.warps(kernel),
            "instructions_per_row": round(size / rows, 1),
            "spill_instructions_in_loop": spilled,
            "instructions_per_pair": round(2 * size / rows * warp_rows(plan, kernel)),
        }
    return found


def compiler() -> dict[str, str]:
    """Versions of what compiles and lists the code."""
    return {name: metadata.version(name) for name in ("nvidia-cuda-nvrtc", DISASSEMBLER)}


def shuffles(plan: Plan, kernel: str) -> int:
    """Shuffles of a warp for a row: two a sum over columns, one a row of gradients.

    The forward pass sums k in every layer, and u in all but the first; the reverse pass does so
    twice, and adds a row of every channel and layer.
    """
    n = plan.segments[0].n_layers
    forward = 2 * (2 * n - 1)
    return forward if kernel == "forward" else 2 * forward + plan.channels + n


def warp_rows(plan: Plan, kernel: str) -> int:
    """Rows that warps take for a pair: two offsets at a time, each with the rows of its dy.

    The layers lag by a row each, and in reverse once more.
    """
    first = plan.segments[0]
    ry, rx = first.radius
    lag = first.n_layers * (1 if kernel == "forward" else 2)
    # Two offsets of one parity of dx share a warp; forward, odd ones are of two classes.
    even = rx // 2 * 2 + 1
    odd = [len(range(start - rx, rx + 1, 4)) for start in _odd_starts(rx)]
    odd = odd if kernel == "forward" else [sum(odd)]
    slots = sum(-(-count // 2) for count in (even, *odd))
    return slots * sum(first.height - abs(dy) + lag for dy in range(-ry, ry + 1))


def _odd_starts(radius: int) -> list[int]:
    """How far the first odd offsets of the two classes (mod 4) lie from the first offset."""
    return [(kind + radius) % 4 for kind in (1, 3)]


def _kind(instruction: str) -> str:
    return re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0].split(".")[0]
