"""The command that makes a learned set again, for its record."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from paper_repro.core.data import registry
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.methods import distilling_cell
from paper_repro.core.runs.presets import CONVNET, overridden


def command(row: Mapping[str, Any], cell: Cell) -> str:
    """How to make a set again: by `distill` where that is the same run, else by its table.

    Args:
      row: of the run.
      cell: that its configuration describes.
    """
    preset, seeds = ["--preset", row["preset"]], ["--seeds", str(row["seed"])]
    what = ["--datasets", cell.dataset, "--ipc", str(cell.images_per_class)]
    what += ["--methods", cell.method]
    kernel = ["--architectures", cell.architecture, "--kernel", cell.kernel]
    kernel += ["--preprocess", "zca" if cell.zca else "standard"]
    budget = []
    if cell.procedure == "kip" and row["preset"] in ("laptop", "gpu"):
        budget = ["--steps", str(cell.steps), "--target-batch", str(cell.target_batch)]
    module, words = f"paper_repro.{row['table']}", [*preset, *what, *seeds, *budget]
    if _is_of_distill(row, cell):
        module, words = "paper_repro.distill", [*preset, *what, *kernel, *seeds, *budget]
    if registry.find(cell.dataset) is None:
        words += ["--data-dir", "DIRECTORY"]
    return shlex.join(["python", "-m", module, *words])


def _is_of_distill(row: Mapping[str, Any], cell: Cell) -> bool:
    budget = CONVNET[row["preset"]]
    if cell.procedure == "kip" and row["preset"] in ("laptop", "gpu"):
        budget = overridden(budget, steps=cell.steps, target_batch=cell.target_batch)
    same = distilling_cell(
        *(cell.method, cell.dataset, cell.images_per_class, budget),
        zca=cell.zca,
        architecture=cell.architecture,
        kernel=cell.kernel,
    )
    return same.config_hash == row["config_hash"]
