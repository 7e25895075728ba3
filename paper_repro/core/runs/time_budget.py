"""`--minutes`: what fits into a time, from the speed of this machine, which is measured first."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.data.notice import say
from paper_repro.core.errors import DatasetUnavailable, Diverged, UserError
from paper_repro.core.methods.problem import seconds_per_entry
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.prepared_data import PreparedData, prepared_data
from paper_repro.core.runs.presets import Spending, refuse_paper
from paper_repro.core.store.files import write_atomic
from paper_repro.core.store.row_schema import config_hash


def spend(spending: Spending, cells: Sequence[Cell], options: RunOptions) -> list[Cell]:
    """The cells of a command line that says what to spend; see `within`.

    Raises:
      UserError: something is given that none of the cells heeds, or see `within`.
    """
    for name in (name for name, given in spending.given.items() if given and name != "minutes"):
        heeding = [c for c in cells if name in c.method_object.budget_fields]
        if name == "final_labels":  # a budget keeps it from methods with fixed labels
            heeding = [cell for cell in heeding if cell.config.final_labels is not None]
        if not heeding:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} changes nothing for the methods chosen: leave it out")
    return within(spending.minutes, cells, options)


def within(minutes: float | None, cells: Sequence[Cell], options: RunOptions) -> list[Cell]:
    """The cells with as many KIP steps, or targets of Label Solve, as fit into so many minutes.

    The plan is printed and kept in `options.out`, so that the same command goes on with the same
    numbers, however fast the machine is then. Runs whose steps take milliseconds, as those of small
    kernels, take longer than planned: keeping their files counts for more than their updates.

    Args:
      minutes: of one run, loading and whitening not included; scoring by a kernel is, networks
        that are trained on the set come on top. None leaves the cells.
      cells: what is to be run.
      options: how.

    Raises:
      UserError: minutes that are not positive, or a preset that is the paper's.
    """
    if minutes is None:
        return list(cells)
    if not (np.isfinite(minutes) and minutes > 0):
        raise UserError(f"minutes must be positive, not {minutes}")
    refuse_paper(options.preset)
    planned = []
    for cell in cells:
        try:
            data = prepared_data(cell, options.data_dir, options.execution)
        except DatasetUnavailable:  # the run says so, and goes on with the others
            planned.append(cell)
            continue
        planned.append(_planned(minutes, cell, data, options.out))
    return planned


_LEAST_SHARE = 0.5
"""Of the time, for learning."""


def _planned(minutes: float, cell: Cell, data: PreparedData, out: Path) -> Cell:
    path, kept = out / "plans" / f"{_key(cell, minutes, data)}.json", ""
    if path.is_file():
        content, kept = json.loads(path.read_text(encoding="utf-8")), " (planned before)"
    else:
        problem = data.problem(cell)
        n_support = cell.images_per_class * data.dataset.n_classes
        scoring = 0.0
        if problem.kernel_fn is not None:
            scoring = seconds_per_entry(problem) * n_support * len(data.dataset.x_test)
        # Where scoring alone takes that long, something is learned all the same.
        least = _LEAST_SHARE * 60 * minutes
        left = max(60 * minutes - scoring, least)
        at_most = max(minutes, float(f"{(scoring + least) / 60:.2g}"))
        try:
            config = cell.method_object.within(problem, cell.config, left)
        except Diverged as error:  # the run says so in its row, and the others go on
            say(f"plan: {cell}: none, since its first steps fail: {error}")
            return cell
        changes = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(config)
            if getattr(config, field.name) != getattr(cell.config, field.name)
        }
        content = {"cell": str(cell), "at_most": at_most, "changes": changes}
        write_atomic(path, json.dumps(content, indent=1) + "\n")
    changes = content["changes"]
    what = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in changes.items())
    most = f"at most {content.get('at_most', minutes):g} min"
    if not cell.scorer.uses_kernel:
        most += " and the networks that score it"
    say(f"plan: {cell}: {what or 'its whole budget'}, {most}{kept}")
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, **changes))


def _key(cell: Cell, minutes: float, data: PreparedData) -> str:
    """Identifies the plan of a cell whatever number of steps it came with."""
    fields = {name: value for name, value in cell.recorded.items() if name != "steps"}
    where = {"data": data.dataset.data_sha256, "execution": data.execution.recorded}
    return config_hash({**fields, "minutes": minutes, **where})
