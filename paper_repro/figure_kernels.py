"""Sets learned with the ConvNet NTK, scored with other kernels, beside natural images.

Every set of `checkpoints/` with one image per class is scored by kernel ridge regression with the
NTK and the NNGP of FC1, FC2, Conv-8, ConvNet3, ConvNet and Myrtle-5, and so is a class-balanced
draw of natural images. The papers print no such table; expected is that a set is best under the
kernel it was learned with, keeps most of its lead under related convolutional kernels, and loses it
under fully connected ones.

    python -m paper_repro.figure_kernels
    python -m paper_repro.figure_kernels --datasets mnist --kernels "ConvNet NTK" "FC1 NTK"

The laptop preset scores the first 2,000 test images: minutes on two cores, but for Conv-8 and
Myrtle-5, which take minutes a set. A second picture shows the spectra of the support kernels,
of the learned images and of the natural ones that Label Solve keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core import cli
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods.random_draw import RandomConfig
from paper_repro.core.pictures.curves import curves
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.options import (
    RunArguments,
    RunOptions,
    Selection,
    SelectionArguments,
)
from paper_repro.core.runs.presets import CONVNET, Preset, find_preset
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.scorers import KRR
from paper_repro.core.runs.transfer_cells import (
    CONVNET_NTK,
    is_by_convnet_kernel,
    scored_cell,
)
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    Wide,
    build_cells,
    smoke_note,
)

SCRIPT = "figure_kernels"
KERNELS = tuple(
    KernelSpec(architecture, kernel)
    for architecture in ("ConvNet", "ConvNet3", "Conv-8", "Myrtle-5", "FC2", "FC1")
    for kernel in ("NTK", "NNGP")
)
NATURAL = "natural images"
PRESETS = {
    name: dataclasses.replace(
        preset, patience=None, **({"n_test": 2_000} if name == "laptop" else {})
    )
    for name, preset in CONVNET.items()
}


def cells(budget: Preset, sets: Sequence[LearnedSet]) -> list[Cell]:
    """Every set and, for its data set and preprocessing, natural images under every kernel."""
    found: dict[str, Cell] = {}
    for learned in sets:
        for spec in KERNELS:
            for cell in (_of_set(learned, spec, budget), _natural(learned, spec, budget)):
                found.setdefault(cell.config_hash, cell)
    return list(found.values())


def _of_set(learned: LearnedSet, spec: KernelSpec, budget: Preset) -> Cell:
    return scored_cell(learned, KRR(spec), budget, method=_name("Learned", spec))


def _natural(learned: LearnedSet, spec: KernelSpec, budget: Preset) -> Cell:
    origin = cell_of(learned.record["config"])
    return Cell(
        origin.dataset,
        _name("Natural", spec),
        RandomConfig(origin.images_per_class),
        CONVNET_NTK,
        KRR(spec),
        origin.zca,
        dataclasses.replace(origin.cut, n_test=budget.n_test),
    )


def _name(method: str, spec: KernelSpec) -> str:
    return f"{method} by {spec.architecture} {spec.kernel}"


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """A line a set, a column a kernel."""
    hashes: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        if row["table"] != SCRIPT:
            continue
        support = row["config"].get("support")
        which = "ZCA" if row["zca"] else "standard"
        label = {
            "Set": support["name"] if support else f"{NATURAL}, {which}",
            "Data set": registry.title(row["dataset"]),
            "Kernel": row["method"].split(" by ")[1],
        }
        hashes.setdefault(tuple(label.items()), []).append(row["config_hash"])
    specs = [CellSpec(dict(label), {"config_hash": of}) for label, of in hashes.items()]
    order = {f"{spec.architecture} {spec.kernel}": n for n, spec in enumerate(KERNELS)}
    ordered = sorted(
        specs,
        key=lambda s: (s.label["Data set"], s.label["Set"], order[s.label["Kernel"]]),
    )
    return ResultTable(
        "Sets learned with the ConvNet NTK under other kernels",
        "Test accuracy in percent by kernel ridge regression; one image per class. Natural images "
        "are one class-balanced draw with their own labels.",
        build_cells(ordered, rows),
        notes=(
            "The papers print no such table.",
            f"To run: `python -m paper_repro.{SCRIPT}`.",
            *smoke_note(rows, "A smoke test: 200 test images."),
        ),
        wide=Wide(("Data set", "Set"), "Kernel"),
    )


def spectra(sets: Sequence[LearnedSet], options: RunOptions) -> Path | None:
    """Write `pictures/figure_kernels-spectra.png`: eigenvalues of K_ss relative to their sum."""
    kernel = options.execution.kernel(CONVNET_NTK)
    series = {}
    for learned in sets:
        values = np.linalg.eigvalsh(np.asarray(kernel(learned.images), np.float64))[::-1]
        shares = np.log10(np.maximum(values / values.sum(), 1e-12))
        series[learned.name] = list(enumerate(shares.tolist(), 1))
    if not series:
        return None
    return curves(
        series,
        options.out / "pictures" / f"{SCRIPT}-spectra.png",
        xlabel="eigenvalue of the support kernel, ConvNet NTK",
        ylabel="log10 of its share of their sum",
        title="Spectra of support kernels, one image per class",
        log_x=False,
    )


TABLE = Table(SCRIPT, table)


def main(
    selection: SelectionArguments = Selection(),
    options: RunArguments = RunOptions(),
    *,
    kernels: tuple[str, ...] = (),
    checkpoints: Path = Path("checkpoints"),
) -> None:
    """Score the sets of `checkpoints` with kernels they were not learned with.

    Examples:
        python -m paper_repro.figure_kernels
        python -m paper_repro.figure_kernels --datasets cifar10 --kernels "FC1 NTK" --out results

    Args:
        selection: which sets; methods are "Learned by FC1 NTK", "Natural by FC1 NTK", ...
        options: how they are run.
        kernels: names as "ConvNet NTK"; default all.
        checkpoints: directory of learned sets.
    """
    known = [f"{spec.architecture} {spec.kernel}" for spec in KERNELS]
    if unknown := [name for name in kernels if name not in known]:
        raise UserError(f"unknown kernel {unknown[0]!r}: choose from {', '.join(known)}")
    budget = find_preset(options.preset, PRESETS)
    sets = [s for s in read_catalogue(checkpoints) if _is_shown(s)]
    if not sets:
        raise UserError(f"{checkpoints} has no set of the ConvNet NTK with one image per class")
    chosen = [
        cell
        for cell in selection.choose(cells(budget, sets))
        if not kernels or cell.method.split(" by ")[1] in kernels
    ]
    run_table(TABLE, chosen, budget, options)
    used = {cell.dataset for cell in chosen}
    if path := spectra([s for s in sets if s.record["dataset"] in used], options):
        print(f"wrote {path}")


def _is_shown(learned: LearnedSet) -> bool:
    record = learned.record
    return (
        is_by_convnet_kernel(learned)
        and record["images_per_class"] == 1
        and record["n_classes"] == 10
    )


if __name__ == "__main__":
    cli.run(main)
