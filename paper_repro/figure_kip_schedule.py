"""How fast KIP converges: many small target batches with a decaying rate, or a few large ones.

CIFAR-10, ten images, ZCA, learned labels, the ConvNet kernel. Every run sees the same number of
targets in all: in batches of 32, 64, 125, 250 or 500 with a cosine decay of the learning rate, and
in batches of 500 at the published constant rate. The papers print no such comparison; they take
batches of 5,000 at a constant rate. Expected: at this budget the constant rate is behind, and the
smaller the batch, the further a run gets, until the supports' own kernel costs more than the
targets' (a step of batch 32 and ten supports computes 420 entries, 100 of them of the supports).

    python -m paper_repro.figure_kip_schedule --seeds 0 1 2

Targets in all: 15,000 at the laptop preset (a draw of all six takes 15 minutes on two AVX-512
cores, estimated), 60,000 at the gpu preset, 300,000 at the paper preset.

Deviations. The laptop preset scores the first 2,000 test images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core import cli
from paper_repro.core.pictures.intervals import with_intervals
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.options import (
    RunArguments,
    RunOptions,
    Selection,
    SelectionArguments,
)
from paper_repro.core.runs.presets import CONVNET, Preset, find_preset, largest_preset
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.transfer_cells import CONVNET_NTK
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    build_cells,
    cell_runs,
    smoke_note,
)
from paper_repro.core.tables.statistics import Estimate, estimate

SCRIPT = "figure_kip_schedule"
DATASET = "cifar10"
BATCHES = (32, 64, 125, 250, 500)
CONSTANT = 500
"""The batch that is run at the constant rate too."""

_BATCH = max(BATCHES)
PRESETS = {
    name: dataclasses.replace(
        preset, steps=targets // _BATCH, target_batch=_BATCH, patience=None, **more
    )
    for (name, preset), targets, more in zip(
        CONVNET.items(),
        (1_000, 15_000, 60_000, 300_000),
        ({}, {"n_test": 2_000}, {}, {}),
        strict=True,
    )
}


def cells(budget: Preset) -> list[Cell]:
    """One run a schedule, the large batches first."""
    targets = budget.steps * budget.target_batch
    schedules = [(CONSTANT, None), *((batch, "cosine") for batch in reversed(BATCHES))]
    return [_cell(batch, decay, targets, budget) for batch, decay in schedules]


def _cell(batch: int, decay: str | None, targets: int, budget: Preset) -> Cell:
    spent = dataclasses.replace(budget, steps=targets // batch, target_batch=batch, decay=decay)
    cell = distilling_cell("KIP (l)", DATASET, 1, CONVNET_NTK, spent, zca=True)
    # Named for what it is: the runs belong in no other table.
    rate = "constant rate" if decay is None else f"{decay} decay"
    return dataclasses.replace(cell, method=f"batch {batch}, {rate}")


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The accuracy that each schedule reaches, and what it computes for that."""
    budget = largest_preset(rows, SCRIPT, PRESETS)
    specs = []
    for cell in cells(budget):
        spec = CellSpec({}, {"config_hash": cell.config_hash}, needs="this script")
        runs = cell_runs(spec, rows)
        steps, batch = cell.config.steps, cell.config.target_batch
        label = {
            "Target batch": str(batch),
            "Rate": "constant" if cell.config.decay is None else "cosine to 0",
            "Steps": f"{steps:,}",
            "Targets": f"{steps * batch:,}",
            "Kernel entries": f"{steps * 10 * (10 + batch):,}",
            "Seconds": f"{estimate([r['seconds'] for r in runs]).mean:,.0f}" if runs else "-",
        }
        specs.append(dataclasses.replace(spec, label=label))
    return ResultTable(
        "KIP at equal numbers of targets: batch size and decay, CIFAR-10, ten images",
        "Test accuracy in percent; mean over n seeds with its 95 % interval. Kernel entries are "
        "those of the updates, forward and gradient. Seconds are wall-clock, whatever else the "
        "machine did, the scoring along the way included.",
        build_cells(specs, rows),
        notes=(
            "The papers print no such comparison.",
            *smoke_note(rows, "A smoke test: pooled to 8x8."),
        ),
    )


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write `pictures/figure_kip_schedule.png`: accuracy against targets seen, if any was run."""
    lines: dict[str, dict[float, Estimate]] = {}
    for cell in cells(largest_preset(rows, SCRIPT, PRESETS)):
        runs = cell_runs(CellSpec({}, {"config_hash": cell.config_hash}), rows)
        for entries in zip(*(row["trajectory"] for row in runs), strict=False):
            seen = entries[0]["step"] * cell.config.target_batch
            if not seen:
                continue  # all begin alike, and the axis is logarithmic
            found = estimate([100 * entry["test_accuracy"] for entry in entries])
            lines.setdefault(f"{cell.method} (n = {found.n})", {})[seen] = found
    if not lines:
        return []
    picture = with_intervals(
        lines,
        out / "pictures" / f"{SCRIPT}.png",
        xlabel="targets seen",
        ylabel="test accuracy, %",
        title="KIP on CIFAR-10, ten images, learned labels",
        log_base=10,
    )
    return [picture]


TABLE = Table(SCRIPT, table, draw)


def main(
    selection: SelectionArguments = Selection(),
    options: RunArguments = RunOptions(),
) -> None:
    """Compare batch sizes and decay of KIP at equal numbers of targets.

    Examples:
        python -m paper_repro.figure_kip_schedule --seeds 0 1 2
        python -m paper_repro.figure_kip_schedule --methods "batch 64, cosine decay"

    Args:
        selection: which schedules, by name as "batch 64, cosine decay".
        options: how they are run.
    """
    budget = find_preset(options.preset, PRESETS)
    run_table(TABLE, selection.choose(cells(budget)), budget, options)


if __name__ == "__main__":
    cli.run(main)
