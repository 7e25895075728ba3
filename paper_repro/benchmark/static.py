"""What the machine code of the CUDA kernels implies, without a card."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.store.files import write_atomic

if TYPE_CHECKING:
    from paper_repro.core.kernels import plan
    from paper_repro.core.kernels.cuda_backend import source
    from paper_repro.core.kernels.cuda_backend import static as machine_code
else:
    plan = lazy.module("paper_repro.core.kernels.plan")
    source = lazy.module("paper_repro.core.kernels.cuda_backend.source")
    machine_code = lazy.module("paper_repro.core.kernels.cuda_backend.static")

SHAPES = ((32, 32, 3), (28, 28, 1))
CAPABILITIES = ("80", "90", "100")
PROTOTYPE = 241
"""Instructions a row of the first, untuned kernel."""

CARDS = {
    "H100 SXM": {"capability": "90", "multiprocessors": 132, "issued_a_cycle": 4, "ghz": 1.98},
    "H200 SXM": {"capability": "90", "multiprocessors": 132, "issued_a_cycle": 4, "ghz": 1.98},
}
"""By NVIDIA's data sheets; clocks are the highest, which a card under load may not hold."""

MEASURED = {
    ("H100 SXM", "32x32x3"): {"forward": 1.021, "gradient": 4.939},
    ("H100 SXM", "28x28x1"): {"forward": 0.789, "gradient": 3.593},
}
"""Microseconds a pair, of `results/benchmark_cuda_h100.json` (sources before the last tuning)."""


def static(json: bool = False, out: Path | None = None) -> None:
    """Compile the two hot CUDA kernels for three kinds of card and count their instructions.

    Needs the packages cuda-bindings, nvidia-cuda-nvrtc and nvidia-cuda-nvdisasm, and no card.

    Examples:
        python -m paper_repro.benchmark static
        python -m paper_repro.benchmark static --out results/cuda_static.json

    Args:
        json: print one JSON object instead of a table.
        out: also write the object into this file; what it holds under `before` stays.
    """
    found = measure()
    if out is not None:
        before = json_module.loads(out.read_text()).get("before") if out.exists() else None
        found |= {"before": before} if before else {}
        write_atomic(out, json_module.dumps(found, indent=1) + "\n")
    if json:
        print(json_module.dumps(found))
        return
    for row in found["rows"]:
        for kernel in machine_code.HOT:
            of = row[kernel]
            spilled = of["spill_stores"] + of["spill_loads"]
            print(
                f"{row['shape']:8} sm_{row['capability']:4} {kernel:8} {of['registers']:4} "
                f"registers {spilled:4} B spilled"
                f" {of['shared_bytes']:8,} B shared {of['instructions_per_row']:6.1f} a row"
            )
    for estimate in found["estimates"]:
        print(f"{estimate['card']} {estimate['shape']} {estimate['mode']}: {estimate['how']}")


def measure(shapes=SHAPES, capabilities=CAPABILITIES) -> dict[str, Any]:
    """The figures of the paper's ConvNet, float32, and the times that they imply.

    Args:
      shapes: of images.
      capabilities: kinds of card, as `90`.
    """
    rows, estimates = [], []
    for shape in shapes:
        planned = plan.plan(from_name("convnet"), shape)
        program = source.program(planned, np.dtype("float32"))
        text = "x".join(map(str, shape))
        for capability in capabilities:
            figures = machine_code.report(planned, program, capability)
            rows.append({"shape": text, "capability": capability, **figures})
            estimates += _estimates(text, capability, figures)
    return {
        "architecture": "ConvNet",
        "dtype": "float32",
        "compiler": machine_code.compiler(),
        "prototype_instructions_per_row": PROTOTYPE,
        "rows": rows,
        "estimates": estimates,
    }


def _estimates(shape: str, capability: str, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The first segment's instructions at one issued a scheduler and cycle, nothing stalling."""
    forward, reverse = (figures[k]["instructions_per_pair"] for k in machine_code.HOT)
    found = []
    for name, card in CARDS.items():
        if card["capability"] != capability:
            continue
        rate = card["multiprocessors"] * card["issued_a_cycle"] * card["ghz"] * 1e3
        # The reverse kernel begins with a forward pass of its own.
        for mode, count in (("forward", forward), ("gradient", forward + reverse)):
            measured = MEASURED.get((name, shape), {}).get(mode)
            entry = {
                "card": name,
                "shape": shape,
                "mode": mode,
                "estimate_us_per_pair": round(count / rate, 3),
                "how": f"an estimate: {count:,} instructions of warps / ({card['multiprocessors']} "
                f"multiprocessors x {card['issued_a_cycle']} a cycle x {card['ghz']} GHz) = "
                f"{count / rate:.2f} us",
            }
            if measured is not None:
                entry["how"] += f", measured {measured:.2f}"
                entry |= {"measured_us_per_pair": measured}
            found.append(entry)
    return found
