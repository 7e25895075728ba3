"""DC and DSA against coresets, DD and LD: the table of arXiv 2006.05929 and 2102.08259.

MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100 at 1, 10 and 50 images per class: natural images
chosen at random, by herding, by k-center and by forgetting, and sets learned by DD, LD, DC and DSA.
New networks are trained on each set and tested at the end, without a maximum over test checkpoints:
by DC's evaluation, but DD's by the steps it has learned, and LD's, in batches of 50, with the
networks of its paper (LeNet, AlexCifarNet). Expected for MNIST with ten images: 65 % at random,
92 % by DC.

    python -m paper_repro.table_dc_coresets --datasets mnist --ipc 1
    python -m paper_repro.table_dc_coresets --datasets cifar10 --methods Random DC --out results

It needs PyTorch (`make torch`). Deviations: the published figures are of 5 sets with 20 networks
each; presets below `paper` train fewer, and the laptop preset matches the gradients on 32 natural
images a class instead of 256. Images are standardised by the mean and deviation of all pixels of a
channel, where the authors' constants for CIFAR-10 average the deviations of single images.
Whole data sets are printed as published.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core import cli, methods
from paper_repro.core.data import registry
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.options import (
    NetworkArguments,
    NetworkOptions,
    Selection,
    SelectionArguments,
)
from paper_repro.core.runs.presets import (
    CONVNET,
    Preset,
    Spending,
    SpendingArguments,
    find_preset,
    needs,
    overridden,
)
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.time_budget import spend
from paper_repro.core.runs.transfer_cells import CONVNET_NTK
from paper_repro.core.tables import published
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    Wide,
    build_cells,
    smoke_note,
)

SCRIPT = "table_dc_coresets"
PRESETS = {
    name: dataclasses.replace(preset, image_side=None, **changed)
    for name, preset, changed in (
        ("smoke", CONVNET["smoke"], {}),
        ("laptop", CONVNET["laptop"], {"seeds": 3}),
        ("gpu", CONVNET["gpu"], {"seeds": 5}),
        ("paper", CONVNET["paper"], {"seeds": 5}),
    )
}


def cells(budget: Preset) -> list[Cell]:
    """The cells of methods that this project has, small sets first."""
    found = [
        _cell(cell, budget)
        for cell in published.coresets()
        if cell.images_per_class is not None and methods.has(cell.method)
    ]
    return sorted(found, key=lambda cell: cell.images_per_class)


def _cell(cell: published.ComparisonCell, budget: Preset) -> Cell:
    dataset = registry.find(cell.dataset).name
    return distilling_cell(cell.method, dataset, cell.images_per_class, CONVNET_NTK, budget)


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The published table beside what `rows` hold."""
    return ResultTable(
        "DC and DSA against coresets, DD and LD",
        "Test accuracy in percent, all test images, of networks trained on the set; ours is the "
        "mean over n sets, each the mean of its networks. DC's evaluation; "
        "DD's sets are scored by their learned steps, DD's and LD's with LeNet or AlexCifarNet.",
        build_cells(map(_spec, published.coresets()), rows),
        notes=(
            f"Not run: `python -m paper_repro.{SCRIPT} --datasets <name> --ipc <images per class> "
            "--methods <name>`, after `make torch`.",
            *smoke_note(rows, "A smoke test: 200 test images, three epochs."),
        ),
        wide=Wide(("Data set", "Images per class"), "Method"),
    )


def _spec(cell: published.ComparisonCell) -> CellSpec:
    size = "all" if cell.images_per_class is None else str(cell.images_per_class)
    label = {"Data set": cell.dataset, "Images per class": size, "Method": cell.method}
    if cell.images_per_class is None or not methods.has(cell.method):
        return CellSpec(label, published=cell.figure, published_only=True)
    ours = _cell(cell, PRESETS["laptop"])
    budget = ours.method_object.published_budget(registry.find(cell.dataset).n_train)
    return CellSpec.of(ours, label, cell.figure, budget or "5 sets, 20 networks each", needs(ours))


TABLE = Table(SCRIPT, table)


def main(
    selection: SelectionArguments = Selection(),
    options: NetworkArguments = NetworkOptions(),
    spending: SpendingArguments = Spending(),
    *,
    networks: int | None = None,
) -> None:
    """Reproduce the table of DC and DSA against coresets, DD and LD.

    Examples:
        python -m paper_repro.table_dc_coresets --datasets mnist --ipc 1
        python -m paper_repro.table_dc_coresets --datasets mnist --ipc 10 --methods DC --minutes 60

    Args:
        selection: which cells are run.
        options: how they are run.
        spending: what the methods spend instead of what the preset says.
        networks: networks trained on each set, instead of the preset's number.
    """
    budget = overridden(spending.of(find_preset(options.preset, PRESETS)), networks=networks)
    chosen = spend(spending, selection.choose(cells(budget)), options)
    run_table(TABLE, chosen, budget, options)


if __name__ == "__main__":
    cli.run(main)
