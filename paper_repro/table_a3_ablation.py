"""Table A3 of arXiv 2107.13034: CIFAR-10, ZCA x learned labels x augmentation.

KIP with the ConvNet kernel at 1, 10 and 50 images per class in all eight combinations, scored by
kernel ridge regression; the finite networks trained on the same sets share the table. Expected:
ZCA above none, learned labels above fixed ones (KRR, 1 image per class: 65 % with both, 51 with
neither), fixed above learned for the finite network.

    python -m paper_repro.table_a3_ablation --ipc 1
    python -m paper_repro.table_a3_ablation --preset gpu --ipc 1 10

A KIP step costs about 0.55 ms for every pair of a support image and a target on two AVX-512 cores,
two to three times as much without AVX-512.
Deviations: as in `table1_comparison`.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from paper_repro.core import cli, methods
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods.kip import KIP
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.options import (
    RunArguments,
    RunOptions,
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
)
from paper_repro.core.runs.rescore import Rescoring
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.time_budget import spend
from paper_repro.core.runs.transfer_cells import BY_SGD, KIP_TO_NN
from paper_repro.core.tables import published
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    Wide,
    build_cells,
    matches,
    smoke_note,
)
from paper_repro.core.tables.published.records import AblationRow

SCRIPT = "table_a3_ablation"
DATASET = "cifar10"
PRESETS = CONVNET


def _method(learned: bool, augmented: bool) -> str:
    """The variant of KIP that learns its labels or not, and augments its targets or not."""
    wanted = learned, augmented
    for name in KIP.variants:
        method = methods.find(name)
        config = method.config(name, 1)
        if (method.learns_labels(config), method.augments(config)) == wanted:
            return name
    raise LookupError(f"KIP has no variant {wanted}")


def cells(budget: Preset) -> list[Cell]:
    """The 24 KRR cells of the table, one image per class first."""
    return [
        _cell(ipc, zca, learned, augmented, budget)
        for ipc in (1, 10, 50)
        for zca, learned, augmented in itertools.product((True, False), repeat=3)
    ]


def _cell(ipc: int, zca: bool, learned: bool, augmented: bool, budget: Preset) -> Cell:
    method = _method(learned, augmented)
    return distilling_cell(method, DATASET, ipc, KernelSpec("ConvNet"), budget, zca=zca)


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The published table beside what `rows` hold, one budget for all cells of a size."""
    equal, others = _by_budget(rows)
    specs = [_spec(row) for row in published.ablation_a3()]
    cells = build_cells(specs, [*equal, *others])
    common = {row["images_per_class"] for row in equal}
    apart = [
        f"{spec.label['Images per class']} per class with ZCA {spec.label['ZCA']}, "
        f"{spec.label['Labels']} labels, augmentation {spec.label['Augmentation']} "
        f"({cell.our_budget})"
        for spec, cell in zip(specs, cells, strict=True)
        if spec.match["images_per_class"] in common and any(_is_of(row, spec) for row in others)
    ]
    longest = build_cells(specs, rows)
    longer = [
        a
        for a, b in zip(longest, cells, strict=True)
        if a.ours is not None and a.our_budget != b.our_budget
    ]
    notes = (
        *_order(equal),
        *(f"At a budget of its own, and not to be compared: {which}." for which in apart),
        f"Not run: `python -m paper_repro.{SCRIPT} --ipc <images per class>` at the laptop preset, "
        f"{PRESETS['laptop'].kip_in_words}.",
        *smoke_note(rows, "A smoke test: 200 test images, pooled to 8x8."),
    )
    appendices = ()
    if longer:
        title = "The same cells at the largest budget that was spent"
        caption = "Of each cell the run with the largest budget, where the table shows another."
        appendices = (ResultTable(title, caption, longer),)
    appendices += _finite(rows)
    return ResultTable(
        "Table A3: CIFAR-10 ablation: ZCA, learned labels, augmentation",
        "Test accuracy in percent, all 10,000 test images; ours is the mean over n "
        "seeds. ConvNet NTK. Where cells of one size have a budget in common, they are shown at "
        "that one, and compare; a cell without a run at it is shown at its own.",
        cells,
        notes=notes,
        appendices=appendices,
        wide=Wide(("ZCA", "Labels", "Augmentation"), "Images per class", "{} per class"),
    )


def _finite(rows: Sequence[Mapping[str, Any]]) -> tuple[ResultTable, ...]:
    """The NN column, from the rows of `table2_transfer`, if there are any."""
    specs = []
    for row in published.ablation_a3():
        kip = _spec(row)
        names = ("dataset", "architecture", "images_per_class", "zca", "learned_labels")
        match = {name: kip.match[name] for name in (*names, "augmentation")}
        match |= {"algorithm": "NN", "method": KIP_TO_NN, **BY_SGD}
        budget = "width 1,024, settings searched"
        needs = "`python -m paper_repro.table2_transfer` on its set, once in checkpoints/"
        specs.append(CellSpec(kip.label, match, row.nn, budget, needs))
    cells = build_cells(specs, rows)
    if all(cell.ours is None for cell in cells):
        return ()
    title = "Finite ConvNets trained on the same sets"
    caption = "Test accuracy in percent of finite ConvNets (see Table 2), settings by validation."
    return (ResultTable(title, caption, cells),)


def _spec(row: AblationRow) -> CellSpec:
    label = {
        "Images per class": str(row.images_per_class),
        "ZCA": "yes" if row.zca else "no",
        "Labels": "learned" if row.learned_labels else "fixed",
        "Augmentation": "yes" if row.augmentation else "no",
    }
    flags = row.zca, row.learned_labels, row.augmentation
    cell = _cell(row.images_per_class, *flags, PRESETS["laptop"])
    return CellSpec.of(cell, label, row.kip, cell.method_object.published_budget(0), needs(cell))


def _by_budget(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """For each size the rows of the budget that most of its cells have, of equals the largest.

    The second list has the rows of the other cells; of all cells where no two have one in common.
    """
    equal, others = [], []
    specs = [_spec(row) for row in published.ablation_a3()]
    for ipc in (1, 10, 50):
        cells_with = collections.Counter()
        members = collections.defaultdict(list)
        for spec in (s for s in specs if s.match["images_per_class"] == ipc):
            found = [r for r in rows if _is_of(r, spec)]
            for budget in {_budget(row) for row in found}:
                cells_with[budget] += 1
            for row in found:
                members[_budget(row)].append(row)
        if cells_with:
            best = max(cells_with, key=lambda b: (cells_with[b], b[0] * b[1], b))
            shown = members[best] if cells_with[best] > 1 else []
            equal += shown
            for spec in (s for s in specs if s.match["images_per_class"] == ipc):
                if not any(_is_of(row, spec) for row in shown):
                    others += [row for row in rows if _is_of(row, spec)]
    return equal, others


def _is_of(row: Mapping[str, Any], spec: CellSpec) -> bool:
    return row["status"] == "done" and matches(row, spec.match)


def _budget(row: Mapping[str, Any]) -> tuple[int, int, str]:
    return row["config"]["steps"], row["config"]["target_batch"], row["preset"]


def _order(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Whether ZCA and learned labels help, as published, cell against cell at equal budget."""
    means = {}
    for row, cell in zip(
        published.ablation_a3(),
        build_cells([_spec(r) for r in published.ablation_a3()], rows),
        strict=True,
    ):
        if cell.ours is not None:
            key = row.images_per_class, row.zca, row.learned_labels, row.augmentation
            means[key] = cell.ours.mean
    notes = []
    for position, better, worse in ((1, "ZCA", "none"), (2, "learned labels", "fixed ones")):
        gains = []
        for key, mean in means.items():
            other = (*key[:position], False, *key[position + 1 :])
            if key[position] and other in means:
                gains.append(mean - means[other])
        if gains:
            above = sum(gain > 0 for gain in gains)
            notes.append(
                f"{better} above {worse} in {above} of {len(gains)} pairs of our cells "
                f"({min(gains):+.1f} to {max(gains):+.1f} points); in all of the published ones."
            )
    return tuple(notes)


TABLE = Table(SCRIPT, table)


def main(
    selection: SelectionArguments = Selection(),
    options: RunArguments = RunOptions(),
    rescoring: tyro.conf.OmitArgPrefixes[Rescoring] = Rescoring(),
    spending: SpendingArguments = Spending(),
    *,
    zca: bool | None = None,
) -> None:
    """Reproduce Table A3 of arXiv 2107.13034: the CIFAR-10 ablation of KIP.

    Examples:
        python -m paper_repro.table_a3_ablation --ipc 1
        python -m paper_repro.table_a3_ablation --ipc 10 --methods KIP --zca True --steps 54

    Args:
        selection: which cells are run: of cifar10 alone, with 1, 10 and 50 images per class, by
            "KIP", "KIP (l)", "KIP (a)" and "KIP (a + l)".
        options: how they are run.
        rescoring: whether stored sets are scored instead.
        spending: what KIP spends instead of what the preset says.
        zca: only the cells with ZCA (True) or without (False); default both.
    """
    budget = spending.of(find_preset(options.preset, PRESETS))
    chosen = selection.choose(cells(budget), zca=zca)
    if rescoring.evaluate_only:
        return rescoring.rescore(chosen, options, **spending.given)
    run_table(TABLE, spend(spending, chosen, options), budget, options)


if __name__ == "__main__":
    cli.run(main)
