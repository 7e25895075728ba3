"""Every method's set by both judges: the exact ConvNet NTK, and DC's finite ConvNet.

"Is a KIP set good for networks, is a DC set good for kernels?" The papers print no such table. Sets
of KIP and LS are those of `checkpoints/`; DC, DSA and the coresets are made here, or taken from
the run of another table in the same directory. Expected: each method is best by the judge that it
was made for.

    python -m paper_repro.table_judges --datasets mnist cifar10 --out results

Both judges take the images as the set has them: whitened sets are tested on whitened images, the
others on standardised ones. DC's network is trained with cross entropy, which takes classes or
probabilities alone; labels that are neither, as learned ones of KIP and LS, count by the largest.
So that all sets are treated alike, its images are not augmented: DC's own evaluation augments on
MNIST, DSA's always, and their sets do better by it (`table_dc_coresets`).
It needs PyTorch (`make torch`). The laptop preset trains three networks a set: three to six
minutes for ten images on a busy machine without AVX-512, beside what DC takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core import cli
from paper_repro.core.network.pytorch.spec import NetworkSpec
from paper_repro.core.runs.judged import (
    EXACT,
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

SCRIPT = "table_judges"
JUDGES = (Judge(EXACT), Judge("DC's ConvNet", NetworkSpec()))


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """A line a set, a column a judge."""
    return judged_table(
        "Every set by two judges",
        "Test accuracy in percent: kernel ridge regression with the exact ConvNet NTK, and the "
        "mean of DC's ConvNets (width 128, instance normalisation) trained on the set without "
        "augmentation. Networks count the learned labels of KIP and LS by the largest.",
        rows,
        SCRIPT,
        JUDGES,
        (
            "The papers print no such table.",
            f"To run: `python -m paper_repro.{SCRIPT} --datasets <name> --out results`.",
            *smoke_note(rows, "A smoke test: 200 test images."),
        ),
    )


TABLE = Table(SCRIPT, table)


def main(
    options: RunArguments = RunOptions(),
    *,
    datasets: tuple[str, ...] = ("mnist", "cifar10"),
    ipc: tuple[int, ...] = (1,),
    made: tuple[str, ...] = ("Random", "Herding", "DC", "DSA"),
    checkpoints: Path = Path("checkpoints"),
) -> None:
    """Score the sets of every method by the exact kernel and by DC's network.

    Examples:
        python -m paper_repro.table_judges
        python -m paper_repro.table_judges --datasets cifar10 --made DC --out results

    Args:
        options: how they are run.
        datasets: names of data sets.
        ipc: images per class.
        made: methods whose sets are made, where no run of them is there yet.
        checkpoints: directory of stored sets.
    """
    require_methods(made)
    budget = find_preset(options.preset, PRESETS)
    sets = stored_sets(SetSource(checkpoints=checkpoints).convolutional_sets(), datasets, ipc)
    sizes = [(name, images) for name in datasets for images in ipc]
    run_table(TABLE, judged_cells(JUDGES, sets, made, sizes, budget), budget, options)


if __name__ == "__main__":
    cli.run(main)
