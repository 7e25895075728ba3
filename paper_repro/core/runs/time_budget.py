"""`--minutes`: as many KIP steps as fit, from the speed of this machine, measured first."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.data.notice import say
from paper_repro.core.errors import DatasetUnavailable, UserError
from paper_repro.core.methods.kip.config import TEST_SHARE
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.prepared_data import PreparedData, prepared_data
from paper_repro.core.store.files import write_atomic
from paper_repro.core.store.row_schema import config_hash

_TIMED = 0.5
"""Seconds that a measurement takes at least."""

_ROWS, _IMAGES = 10, 200
"""Of the block of the kernel that is timed."""

_BESIDE = 1 + 1.5 * TEST_SHARE
"""What a run takes beside its updates, as a factor: scoring the test set along the way, saving."""


def within(minutes: float | None, cells: Sequence[Cell], options: RunOptions) -> list[Cell]:
    """The cells with the KIP steps that fit into so many minutes a run, on this machine.

    The plan is printed and kept in `options.out`, so that the same command goes on with the same
    steps, however fast the machine is then. A method without steps is only estimated: Label Solve
    has nothing that could be left out. Runs whose steps take milliseconds, as those of small
    kernels, take longer than planned: keeping their files counts for more than their updates.

    Args:
      minutes: of one run, scoring included, loading and whitening not; None leaves the cells.
      cells: what is to be run.
      options: how.

    Raises:
      UserError: minutes that are not positive.
    """
    if minutes is None:
        return list(cells)
    if not (np.isfinite(minutes) and minutes > 0):
        raise UserError(f"minutes must be positive, not {minutes}")
    planned = []
    for cell in cells:
        try:
            data = prepared_data(cell, options.data_dir, options.execution)
        except DatasetUnavailable:  # the run says so, and goes on with the others
            planned.append(cell)
            continue
        planned.append(_planned(minutes, cell, data, options.out))
    return planned


def _planned(minutes: float, cell: Cell, data: PreparedData, out: Path) -> Cell:
    problem, method = data.problem(cell), cell.method_object
    n_support = cell.images_per_class * data.dataset.n_classes
    n_train = len(problem.labels)
    scored = (
        n_support * len(data.dataset.x_test) + method.pairs(cell.config, n_support, n_train).scored
    )
    if getattr(cell.config, "final_labels", None) is not None:
        scored += n_support * n_train
    path, kept = out / "plans" / f"{_key(cell, minutes)}.json", ""
    if path.is_file():
        steps, kept = json.loads(path.read_text(encoding="utf-8"))["steps"], " (planned before)"
    else:
        scoring = scored * _seconds_per_entry(data)
        one = method.seconds_of_step(problem, cell.config)
        if one is None:
            say(f"plan: {cell}: about {_text(scoring)}, all targets")
            return cell
        steps = max(1, int((60 * minutes - scoring) / (_BESIDE * one)))
        write_atomic(path, json.dumps({"cell": str(cell), "minutes": minutes, "steps": steps}))
    say(
        f"plan: {cell}: {steps:,} steps of {cell.config.target_batch:,} targets in about "
        f"{_text(60 * minutes)}{kept}"
    )
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, steps=steps))


def _key(cell: Cell, minutes: float) -> str:
    """Identifies the plan of a cell whatever number of steps it came with."""
    fields = {name: value for name, value in cell.recorded.items() if name != "steps"}
    return config_hash({**fields, "minutes": minutes})


def _seconds_per_entry(data: PreparedData) -> float:
    """Seconds of a kernel entry without its gradient, on training images."""
    kernel = data.kernel_fn
    images = data.dataset.x_train[:_IMAGES]
    x = kernel.prepare(data.transform.apply(images, kernel.dtype))
    np.asarray(kernel(x[:_ROWS], x))  # compiles
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < _TIMED:
        np.asarray(kernel(x[:_ROWS], x))
        calls += 1
    return (time.perf_counter() - started) / (calls * _ROWS * len(x))


def _text(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
