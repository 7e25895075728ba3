"""Table 1 of arXiv 2107.13034: KIP and LS with the ConvNet kernel, beside DC, DSA and KIP-FC.

MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100 at 1, 10 and 50 images per class (CIFAR-100:
1 and 10). LS, KIP with learned labels (l), and KIP with augmented targets as well (a + l), all
scored by kernel ridge regression; ZCA for the RGB sets. Expected for CIFAR-10 with 10 images:
LS 26, KIP 65 %. DC and DSA are finite ConvNets in PyTorch (`make torch`); where it is not installed
their cells are run when they are asked for by name alone.

    python -m paper_repro.table1_comparison --datasets mnist cifar10 --ipc 1
    python -m paper_repro.table1_comparison --preset gpu --datasets cifar10 --ipc 1 10

A cell that was not run says what it needs at the laptop preset:

    python -m paper_repro.table1_comparison --datasets mnist --ipc 10 --methods "KIP (l)"

A KIP step costs about 0.55 ms for every pair of a support image and a target on two AVX-512 cores,
LS 0.11 ms for every pair of a support image and a training image (28x28 images: 0.08, and for KIP
0.41, in proportion); without AVX-512 two to three times as much.

Deviations. Ours are the ranges of the augmentation (10 degrees, shifts of a tenth, flips for RGB,
every target) and the criterion of convergence (docs/presets.md). The laptop preset takes fewer and
smaller target batches at a rate that falls to 0 (`figure_kip_schedule` says why) and says so in
every cell.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from paper_repro.core import cli, methods
from paper_repro.core.data import dataset_names, registry
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.pictures.intervals import with_intervals
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.official_solves import official_solves
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
from paper_repro.core.runs.scorers import PublishedNetworks
from paper_repro.core.runs.time_budget import spend
from paper_repro.core.tables import published
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    TableCell,
    Wide,
    build_cells,
    cells_by_config,
    smoke_note,
)
from paper_repro.core.tables.statistics import Estimate
from paper_repro.core.tables.verdict import Verdict

SCRIPT = "table1_comparison"

PRESETS = CONVNET

IMAGES_PER_CLASS = {
    name: (1, 10) if name == "cifar100" else (1, 10, 50) for name in registry.DATASETS
}
RANDOM_ARCHITECTURES = ("ConvNet", "Conv-3", "Conv-8")
"""What `--random-kernel` draws from (arXiv 2107.13034, random kernels)."""

SMOKE_SUPPORTS = 100
"""The smoke preset leaves out the cells with more."""

SAMPLES = {"svhn": "svhn_mini"}
"""What the smoke preset runs where the data directory holds a small sample of the data set."""


COLUMNS = {
    "LS ConvNet": ("LS", "ConvNet"),
    "KIP ConvNet no aug": ("KIP (l)", "ConvNet"),
    "KIP ConvNet aug": ("KIP (a + l)", "ConvNet"),
    "KIP FC aug": ("KIP (a + l)", "FC1"),
}
"""The paper's columns whose name is not that of the method: (method, kernel's architecture).

A column named like a method of the registry is that method's with the ConvNet; the others are
printed as published.
"""

OWN_COLUMNS = ("LS ConvNet", "KIP ConvNet no aug", "KIP ConvNet aug", "KIP FC aug")
"""The order in which a data set's cells are run."""


def cells(budget: Preset) -> list[Cell]:
    """The cells of the table, one image per class first, then LS without ZCA for its appendix."""
    sizes = [(ipc, name) for ipc in (1, 10, 50) for name in IMAGES_PER_CLASS]
    sizes = [(ipc, name) for ipc, name in sizes if ipc in IMAGES_PER_CLASS[name]]
    if budget.name == "smoke":
        sizes = [(ipc, name) for ipc, name in sizes if _support_size(name, ipc) <= SMOKE_SUPPORTS]
    grid = [cell for ipc, name in sizes for cell in _cells_of(name, ipc, budget)]
    solved = [cell for cell in grid if cell.zca and not cell.method_object.learns_images]
    return grid + [dataclasses.replace(cell, zca=False) for cell in solved]


def _title(dataset: str) -> str:
    """As the paper's table calls the data set; a small sample is called one."""
    for name, sample in SAMPLES.items():
        if dataset == sample:
            return f"{registry.DATASETS[name].title} (small sample)"
    return registry.DATASETS[dataset].title


def _support_size(dataset: str, ipc: int) -> int:
    return ipc * len(registry.DATASETS[dataset].class_names)


def _cells_of(dataset: str, ipc: int, budget: Preset) -> list[Cell]:
    """The cells of a data set and size: the paper's columns that can be run, then other methods."""
    columns = [
        *OWN_COLUMNS,
        *(c.method for c in published.table1() if c.method not in COLUMNS),
        *_compared(),
    ]
    found = (_column_cell(column, dataset, ipc, budget) for column in dict.fromkeys(columns))
    return [cell for cell in found if cell is not None]


def _compared() -> list[str]:
    """The methods that have a line here though the paper has no column for them."""
    return [name for m in methods.methods() if m.is_compared for name in m.variants]


def _column_cell(column: str, dataset: str, ipc: int, budget: Preset) -> Cell | None:
    """The cell of a column; None of one that this project cannot run."""
    method, architecture = COLUMNS.get(column, (column, "ConvNet"))
    if not methods.has(method):
        return None
    is_color = registry.DATASETS[dataset].image_shape[-1] == 3
    zca = is_color and architecture == "ConvNet"
    return distilling_cell(method, dataset, ipc, KernelSpec(architecture), budget, zca=zca)


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The published table beside what `rows` hold, with the official LS runs as an appendix."""
    samples = {}
    notes = smoke_note(rows, "A smoke test: 200 test images, pooled to 8x8.")
    for name, sample in SAMPLES.items():
        if notes and any(row["dataset"] == sample for row in rows):
            samples[name] = sample
            notes += (f"{_title(sample)}: not the data set but the file {sample}.npz.",)
    return ResultTable(
        "Table 1: KIP and LS with the ConvNet kernel against DC, DSA and KIP-FC",
        "Test accuracy in percent, all test images; ours is the mean over n seeds (support draw, "
        "batches, augmentation). KIP and LS learn the labels; ZCA for the "
        "RGB sets with the ConvNet kernel, standard preprocessing elsewhere.",
        build_cells(_specs(samples), rows),
        notes=(
            "Not run: `python -m paper_repro.table1_comparison --datasets <name> --ipc <images per "
            'class> --methods <LS | "KIP (l)" | "KIP (a + l)">` at the laptop preset, '
            f"{PRESETS['laptop'].kip_in_words}.",
            "DC and DSA train finite ConvNets with instance normalisation, on standardised "
            "images; ours are run in PyTorch (`make torch`).",
            *notes,
        ),
        appendices=(official_solves(rows, IMAGES_PER_CLASS), *_options(rows)),
        wide=Wide(("Data set", "Images per class"), "Method"),
    )


def _specs(samples: Mapping[str, str]) -> list[CellSpec]:
    """The lines: the paper's cells in its order, those of other methods after each size."""
    specs, paper = [], published.table1()
    for position, cell in enumerate(paper):
        size = cell.dataset, cell.images_per_class
        specs.append(_spec(*size, cell.method, cell.figure, samples))
        following = paper[position + 1] if position + 1 < len(paper) else None
        if following is None or (following.dataset, following.images_per_class) != size:
            specs += [_spec(*size, column, None, samples) for column in _compared()]
    return specs


def _spec(
    title: str,
    ipc: int,
    column: str,
    figure: published.PublishedFigure | None,
    samples: Mapping[str, str],
) -> CellSpec:
    """The line of a column, for a data set by its title and a size."""
    label = {"Data set": title, "Images per class": str(ipc), "Method": column}
    dataset = registry.find(title)
    cell = _column_cell(column, dataset.name, ipc, PRESETS["laptop"])
    if cell is None:
        return CellSpec(label, published=figure, published_only=True)
    name = samples.get(dataset.name, dataset.name)
    label["Data set"] = _title(name)
    budget = cell.method_object.published_budget(dataset.n_train)
    sampled = dataclasses.replace(cell, dataset=name)
    return CellSpec.of(sampled, label, figure, budget, needs(cell))


@dataclasses.dataclass(frozen=True)
class Variation:
    """What KIP does otherwise than in the table, for its appendix.

    Attributes:
      random_kernel: draw ConvNet, Conv-3 or Conv-8 anew for every KIP step; scored by ConvNet.
      support_batch: supports per class that a KIP step draws and updates; default all.
      augmented_part: the part of a step's targets that KIP with augmentation changes, from 0 to 1;
        default all of them.
    """

    random_kernel: bool = False
    support_batch: int | None = None
    augmented_part: float | None = None

    @property
    def given(self) -> dict[str, bool]:
        """Which of the options are given, by name."""
        plain = dataclasses.asdict(Variation())
        return {name: value != plain[name] for name, value in dataclasses.asdict(self).items()}

    def choose(self, chosen: list[Cell]) -> list[Cell]:
        """The cells that vary so, and no others if anything is asked for."""
        if not any(self.given.values()):
            return chosen
        if self.augmented_part == 1:
            raise UserError("--augmented-part 1 changes nothing: leave it out")
        varied = [self._varied(cell) for cell in chosen if self._suits(cell)]
        if not varied:
            raise UserError(
                "no chosen cell can vary so: --random-kernel and --support-batch need KIP cells of "
                'the ConvNet, --augmented-part "KIP (a + l)"'
            )
        return varied

    def _suits(self, cell: Cell) -> bool:
        if self.augmented_part is not None and not cell.method_object.augments(cell.config):
            return False
        is_kip = "support_batch" in cell.method_object.option_fields
        drawn = self.random_kernel or self.support_batch is not None
        return is_kip and (cell.architecture == "ConvNet" or not drawn)

    def _varied(self, cell: Cell) -> Cell:
        changes: dict[str, Any] = {"support_batch": self.support_batch}
        if self.random_kernel:
            changes["random_architectures"] = RANDOM_ARCHITECTURES
        if self.augmented_part is not None:
            changes["augmentation"] = dataclasses.replace(
                cell.config.augmentation, fraction=self.augmented_part
            )
        return dataclasses.replace(cell, config=dataclasses.replace(cell.config, **changes))


def _options(rows: Sequence[Mapping[str, Any]]) -> tuple[ResultTable, ...]:
    """Runs that vary from the table, if there are any."""

    def label_of(row: Mapping[str, Any]) -> dict[str, str] | None:
        drawn, batch = (row["config"].get(n) for n in ("random_architectures", "support_batch"))
        part = (row["config"].get("augmentation") or {}).get("fraction", 1)
        if row["table"] != SCRIPT or (drawn is None and batch is None and part == 1):
            return None
        return {
            "Data set": _title(row["dataset"]),
            "Images per class": str(row["images_per_class"]),
            "Method": f"{row['method']}, {row['architecture']}",
            "Kernels drawn from": ", ".join(drawn or ("-",)),
            "Supports per class and step": str(batch or "all"),
            "Augmented targets": f"{100 * part:.0f} %" if row["augmentation"] else "none",
        }

    title, caption = "Options of KIP", "Scored by the kernel's NTK; the table has the published."
    cells = cells_by_config(rows, label_of)
    return (ResultTable(title, caption, cells),) if cells else ()


def _sampled(chosen: list[Cell], data_dir: Path | None) -> list[Cell]:
    """The cells with small samples in place of the data sets they stand for, if there are any."""
    present = dataset_names(data_dir)
    replaced = {name: sample for name, sample in SAMPLES.items() if sample in present}
    return [
        dataclasses.replace(cell, dataset=replaced.get(cell.dataset, cell.dataset))
        for cell in chosen
    ]


def _installed(chosen: list[Cell], selection: Selection) -> list[Cell]:
    """Without the cells that need PyTorch where it is not installed, unless they are named."""
    if selection.methods or importlib.util.find_spec("torch") is not None:
        return chosen
    kept = [cell for cell in chosen if not isinstance(cell.scorer, PublishedNetworks)]
    if len(kept) < len(chosen):
        say("DC and DSA are left out: they need PyTorch (`make torch`)")
    return kept


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write `pictures/table1_comparison-sizes.png`: accuracy against images per class.

    It has a line for every data set and method that was run at two sizes or more. Where a reduced
    budget makes a size lower than it need be, the line says so.
    """
    lines: dict[str, dict[float, Estimate]] = {}
    reduced = set()
    for cell in table(rows).cells:
        if cell.ours is not None:
            name = f"{cell.label['Data set']}, {cell.label['Method']}"
            lines.setdefault(name, {})[int(cell.label["Images per class"])] = cell.ours
            if cell.verdict == Verdict.LOWER_REDUCED:
                reduced.add(name)
    lines = {
        f"{name} (reduced budgets)" if name in reduced else name: line
        for name, line in lines.items()
        if len(line) > 1
    }
    if not lines:
        return []
    path = out / "pictures" / f"{SCRIPT}-sizes.png"
    title = "Accuracy against the number of images"
    return [with_intervals(lines, path, xlabel="images per class", title=title, log_base=10)]


TABLE = Table(SCRIPT, table, draw)


def main(
    selection: SelectionArguments = Selection(),
    options: RunArguments = RunOptions(),
    rescoring: tyro.conf.OmitArgPrefixes[Rescoring] = Rescoring(),
    spending: SpendingArguments = Spending(),
    variation: tyro.conf.OmitArgPrefixes[Variation] = Variation(),
    *,
    architectures: tuple[str, ...] = (),
    zca: bool | None = None,
    beside: Path | None = None,
) -> None:
    """Reproduce Table 1 of arXiv 2107.13034: KIP and LS with the ConvNet kernel.

    Examples:
        python -m paper_repro.table1_comparison --datasets mnist cifar10 --ipc 1
        python -m paper_repro.table1_comparison --methods LS --seeds 0 1 2 --out results
        python -m paper_repro.table1_comparison --datasets cifar10 --methods LS --zca True
        python -m paper_repro.table1_comparison --preset gpu --datasets cifar10 --ipc 1 10
        python -m paper_repro.table1_comparison --evaluate-only --datasets mnist

    Args:
        selection: which cells are run.
        options: how they are run.
        rescoring: whether stored sets are scored instead.
        spending: what KIP spends instead of what the preset says.
        variation: what KIP does otherwise than in the table.
        architectures: ConvNet, FC1 (the KIP-FC column) or both; default both.
        zca: only the cells with ZCA (True) or without (False), the latter with LS on RGB sets for
            the appendix; default the cells of the table itself.
        beside: directory of other rows that are printed below, such as results.
    """
    budget = spending.of(find_preset(options.preset, PRESETS))
    chosen = selection.choose(cells(budget), architectures, zca)
    if zca is None:
        whitened = {dataclasses.replace(cell, zca=False) for cell in chosen if cell.zca}
        chosen = [cell for cell in chosen if cell not in whitened]
    chosen = variation.choose(chosen)
    chosen = _sampled(chosen, options.data_dir) if options.is_smoke else chosen
    if rescoring.evaluate_only:
        return rescoring.rescore(
            chosen,
            options,
            **spending.given,
            **variation.given,
            beside=beside,
        )
    chosen = spend(spending, _installed(chosen, selection), options)
    sizes = {(_title(cell.dataset), str(cell.images_per_class)) for cell in chosen}

    def shown(cell: TableCell) -> bool:
        return (cell.label["Data set"], cell.label["Images per class"]) in sizes

    run_table(TABLE, chosen, budget, options, shown=shown, beside=beside)


if __name__ == "__main__":
    cli.run(main)
