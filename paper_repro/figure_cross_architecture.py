"""Sets of every method in every network: what a set learned in one network gives another.

DC's Table 2 (arXiv 2006.05929) crosses six networks on MNIST with one image per class; this figure
asks it of all sets at hand: those of KIP and LS in `checkpoints/`, of DC, DSA and the coresets.
Expected: sets of DC and DSA carry over to related networks and lose in others; sets of KIP, learned
for an infinitely wide network, lose in all. The figures of DC's table are not printed beside ours.

    python -m paper_repro.figure_cross_architecture --out results

It needs PyTorch (`make torch`). Images and labels are taken as in `table_judges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core import cli
from paper_repro.core.errors import UserError
from paper_repro.core.network.pytorch.spec import NETWORKS, NetworkSpec
from paper_repro.core.runs.judged import (
    PRESETS,
    Judge,
    judged_cells,
    judged_table,
    require_methods,
    stored_sets,
)
from paper_repro.core.runs.options import RunArguments, RunOptions
from paper_repro.core.runs.presets import find_preset
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.transfer_cells import SetSource
from paper_repro.core.tables.cells import ResultTable, smoke_note

SCRIPT = "figure_cross_architecture"
SHOWN = tuple(name for name in NETWORKS if name != "AlexCifarNet")
"""The networks of DC's Table 2."""

JUDGES = tuple(Judge(name, NetworkSpec(name)) for name in NETWORKS)


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """A line a set, a column a network."""
    return judged_table(
        "Sets of every method in every network",
        "Test accuracy in percent of networks trained on the set as DC does, without augmentation; "
        "mean over the networks of a row.",
        rows,
        SCRIPT,
        JUDGES,
        (
            f"To run: `python -m paper_repro.{SCRIPT} --datasets <name> --out results`.",
            *smoke_note(rows, "A smoke test: 200 test images, three epochs."),
        ),
    )


TABLE = Table(SCRIPT, table)


def main(
    options: RunArguments = RunOptions(),
    *,
    datasets: tuple[str, ...] = ("mnist",),
    ipc: tuple[int, ...] = (1,),
    made: tuple[str, ...] = ("Random", "DC"),
    networks: tuple[str, ...] = SHOWN,
    checkpoints: Path = Path("checkpoints"),
) -> None:
    """Train every network on the set of every method.

    Examples:
        python -m paper_repro.figure_cross_architecture
        python -m paper_repro.figure_cross_architecture --networks MLP LeNet --out results

    Args:
        options: how they are run.
        datasets: names of data sets.
        ipc: images per class.
        made: methods whose sets are made, where no run of them is there yet.
        networks: names of networks; default those of DC's Table 2.
        checkpoints: directory of stored sets.
    """
    require_methods(made)
    if unknown := [name for name in networks if name not in NETWORKS]:
        raise UserError(f"unknown network {unknown[0]!r}: choose from {', '.join(NETWORKS)}")
    budget = find_preset(options.preset, PRESETS)
    judges = [judge for judge in JUDGES if judge.title in networks]
    sets = stored_sets(SetSource(checkpoints=checkpoints).convolutional_sets(), datasets, ipc)
    sizes = [(name, images) for name in datasets for images in ipc]
    run_table(TABLE, judged_cells(judges, sets, made, sizes, budget), budget, options)


if __name__ == "__main__":
    cli.run(main)
