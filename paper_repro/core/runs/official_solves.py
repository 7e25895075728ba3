"""Label Solve against the runs of the official release, an appendix of Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core.data import registry
from paper_repro.core.runs.cell import distilling_cell
from paper_repro.core.runs.presets import needs
from paper_repro.core.runs.transfer_cells import CONVNET_NTK
from paper_repro.core.tables import published
from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells, cell_runs
from paper_repro.core.tables.published.records import OfficialRun


def official_solves(
    rows: Sequence[Mapping[str, Any]], images_per_class: Mapping[str, Sequence[int]]
) -> ResultTable:
    """The official ConvNet runs of the sizes in `images_per_class`, by data set, beside ours."""
    specs = [
        spec
        for run in published.official_ls()
        if run.architecture == "ConvNet"
        for spec in _specs(run, images_per_class)
    ]
    return ResultTable(
        "Label Solve against the runs of the official release",
        "Each official figure is one draw of the support images, so the spread of our draws says "
        "what it may differ by. ConvNet, all training images as targets.",
        build_cells(specs, rows),
        notes=_spread(specs, rows),
    )


def _specs(run: OfficialRun, images_per_class: Mapping[str, Sequence[int]]) -> list[CellSpec]:
    """The line of a run; none where its size is not asked for."""
    dataset = registry.find(run.dataset)
    n_classes = len(dataset.class_names)
    ipc = run.support_size // n_classes
    if ipc * n_classes != run.support_size or ipc not in images_per_class[dataset.name]:
        return []
    label = {
        "Data set": run.dataset,
        "Images per class": str(ipc),
        "ZCA": "yes" if run.zca else "no",
    }
    cell = distilling_cell("LS", dataset.name, ipc, CONVNET_NTK, zca=run.zca)
    budget = f"{cell.method_object.published_budget(dataset.n_train)}, one draw"
    return [CellSpec.of(cell, label, run.figure, budget, needs(cell))]


def _spread(specs: Sequence[CellSpec], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """For each cell with draws of ours: whether the official one lies among them, and how far."""
    notes = []
    for spec in specs:
        runs = [row for row in cell_runs(spec, rows) if row["preset"] != "smoke"]
        draws = [100 * row["test_accuracy"] for row in runs]
        if not draws:
            continue
        low, high, official = min(draws), max(draws), spec.published.accuracy_percent
        inside = low - 1 <= official <= high + 1
        dataset, ipc, _ = spec.label.values()
        notes.append(
            f"{dataset}, {ipc} per class, {'ZCA' if spec.match['zca'] else 'no ZCA'}: our draws "
            f"{', '.join(f'{d:.1f}' for d in draws)}; the official {official:.1f} lies "
            f"{'inside' if inside else 'OUTSIDE'} their range widened by 1 point."
        )
    return tuple(notes)
