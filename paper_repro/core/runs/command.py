"""The command that makes a learned set again, for its record."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from paper_repro.core.data import registry
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.presets import CONVNET, Spending


def command(row: Mapping[str, Any], cell: Cell) -> str:
    """How to make a set again: by `distill` where that is the same run, else by its table.

    Args:
      row: the result row of the run.
      cell: the cell that its configuration describes.
    """
    preset, seeds = ["--preset", row["preset"]], ["--seeds", str(row["seed"])]
    what = ["--datasets", cell.dataset, "--ipc", str(cell.images_per_class)]
    what += ["--methods", cell.method]
    budget = []
    for name, value in _spent(row, cell).items():
        budget += [f"--{name.replace('_', '-')}", str(value)]
    module, words = f"paper_repro.{row['table']}", [*preset, *what, *seeds, *budget]
    if row["table"] == "distill" or _is_of_distill(row, cell):
        recipe = [*_of_recipe(cell), *seeds, *budget]
        module, words = "paper_repro.distill", [*preset, *what, *recipe]
    if registry.find(cell.dataset) is None:
        words += ["--data-dir", "DIRECTORY"]
    return shlex.join(["python", "-m", module, *words])


def _of_recipe(cell: Cell) -> list[str]:
    """The options of `distill` that say the kernel, the preprocessing and the first images."""
    words = ["--architectures", cell.kernel.architecture]
    if not cell.kernel.is_distance:
        words += ["--kernel", cell.kernel.kernel]
    words += ["--preprocess", "zca" if cell.zca else "standard"]
    if cell.kernel.scale is not None:
        words += ["--scale", str(cell.kernel.scale)]
    if cell.kernel.learn_scale:
        words.append("--learn-scale")
    if "initial" in cell.method_object.option_fields and cell.config.initial != "natural":
        words += ["--initial", cell.config.initial]
    return words


def _spent(row: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """The fields of the budget that a command line can set, at presets that let it."""
    if row["preset"] not in ("laptop", "gpu"):
        return {}
    fields = [field.name for field in dataclasses.fields(Spending)]
    names = [name for name in cell.method_object.budget_fields if name in fields]
    spent = {name: getattr(cell.config, name) for name in names}
    if "decay" in spent and CONVNET[row["preset"]].decay is not None:
        spent["decay"] = spent["decay"] or "constant"
    return {name: value for name, value in spent.items() if value is not None}


def _is_of_distill(row: Mapping[str, Any], cell: Cell) -> bool:
    budget = Spending(**_spent(row, cell)).of(CONVNET[row["preset"]])
    what = cell.method, cell.dataset, cell.images_per_class, cell.kernel
    same = distilling_cell(*what, budget, zca=cell.zca)
    # A method that networks score makes its set on the way.
    return row["config_hash"] in (same.config_hash, same.learning_cell.config_hash)
