"""Table 1 of arXiv 2107.13034: KIP and LS with the ConvNet kernel, beside DC, DSA and KIP-FC.

MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100 at 1, 10 and 50 images per class (CIFAR-100:
1 and 10). LS, KIP with learned labels (l), and KIP with augmented targets as well (a + l), all
scored by kernel ridge regression; ZCA for the RGB sets. Expected for CIFAR-10 with 10 images:
LS 26, KIP 65 %. The figures of DC and DSA are printed as published.

    python -m paper_repro.table1_comparison --datasets mnist cifar10 --ipc 1
    python -m paper_repro.table1_comparison --preset gpu --datasets cifar10 --ipc 1 10

A cell that was not run says what it needs at the laptop preset:

    python -m paper_repro.table1_comparison --datasets mnist --ipc 10 --methods "KIP (l)"

A KIP step costs about 0.55 ms for every pair of a support image and a target on two AVX-512 cores,
LS 0.11 ms for every pair of a support image and a training image (28x28 images: 0.08, and for KIP
0.41, in proportion); without AVX-512 two to three times as much.

Deviations. Ours are the ranges of the augmentation (10 degrees, shifts of a tenth, flips for RGB,
every target) and the criterion of convergence (README). The laptop preset takes fewer steps with
smaller target batches and says so in every cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core import cli
from paper_repro.core.data import dataset_names, registry
from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.cost import needs
from paper_repro.core.runs.methods import NO_OPTIONS, distilling_cell
from paper_repro.core.runs.official_solves import official_solves
from paper_repro.core.runs.presets import CONVNET, Preset, find_preset, overridden
from paper_repro.core.runs.selection import select
from paper_repro.core.tables import published
from paper_repro.core.tables.cells import CellSpec, ResultTable, TableCell, build_cells
from paper_repro.core.tables.published.records import ComparisonCell

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


def cells(budget: Preset) -> list[Cell]:
    """The cells of the table, one image per class first, then LS without ZCA for its appendix."""
    sizes = [(ipc, name) for ipc in (1, 10, 50) for name in IMAGES_PER_CLASS]
    sizes = [(ipc, name) for ipc, name in sizes if ipc in IMAGES_PER_CLASS[name]]
    if budget.name == "smoke":
        sizes = [(ipc, name) for ipc, name in sizes if _support_size(name, ipc) <= SMOKE_SUPPORTS]
    grid = [cell for ipc, name in sizes for cell in _cells_of(name, ipc, budget)]
    solved = [cell for cell in grid if cell.method == "LS" and cell.zca]
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
    zca = registry.DATASETS[dataset].image_shape[-1] == 3
    cells = [
        distilling_cell(method, dataset, ipc, budget, zca=zca)
        for method in ("LS", "KIP (l)", "KIP (a + l)")
    ]
    fc1 = distilling_cell("KIP (a + l)", dataset, ipc, budget, zca=False, architecture="FC1")
    return [*cells, fc1]


_COLUMNS = {
    "LS ConvNet": ("LS", "ConvNet"),
    "KIP ConvNet no aug": ("KIP (l)", "ConvNet"),
    "KIP ConvNet aug": ("KIP (a + l)", "ConvNet"),
    "KIP FC aug": ("KIP (a + l)", "FC1"),
}


def table(rows: Sequence[Mapping[str, Any]], include_smoke: bool = False) -> ResultTable:
    """The published table beside what `rows` hold, with the official LS runs as an appendix."""
    smoke = ("A smoke test: 200 test images, pooled to 8x8.",) if include_smoke else ()
    samples = {}
    for name, sample in SAMPLES.items():
        if include_smoke and any(row["dataset"] == sample for row in rows):
            samples[name] = sample
            smoke += (f"{_title(sample)}: not the data set but the file {sample}.npz.",)
    return ResultTable(
        "KIP and LS with the ConvNet kernel against DC, DSA and KIP-FC",
        "Test accuracy in percent, all test images; ours is the mean over n seeds (support draw, "
        "batches, augmentation) with its 95 % interval. Labels are learned throughout; ZCA for "
        "the RGB sets with the ConvNet, standard preprocessing elsewhere.",
        build_cells(
            [_spec(cell, samples) for cell in published.table1()],
            rows,
            include_smoke=include_smoke,
        ),
        notes=(
            "Not run: `python -m paper_repro.table1_comparison --datasets <name> --ipc <images per "
            'class> --methods <LS | "KIP (l)" | "KIP (a + l)">` at the laptop preset, 120 steps '
            "with target batch 500.",
            "DC and DSA train finite ConvNets with instance normalisation; their figures are "
            "printed as published, and this project does not run them.",
            *smoke,
        ),
        appendices=(
            official_solves(rows, IMAGES_PER_CLASS, include_smoke),
            *_options(rows, include_smoke),
        ),
    )


def _options(rows: Sequence[Mapping[str, Any]], include_smoke: bool) -> tuple[ResultTable, ...]:
    """Runs with a random kernel or a support batch, if there are any."""
    specs = {}
    for row in rows:
        drawn, batch = (row["config"].get(name.removeprefix("config.")) for name in NO_OPTIONS)
        if row["table"] != SCRIPT or (drawn is None and batch is None):
            continue
        label = {
            "Data set": _title(row["dataset"]),
            "Images per class": str(row["images_per_class"]),
            "Method": row["method"],
            "Kernels drawn from": ", ".join(drawn or ("-",)),
            "Supports per class and step": str(batch or "all"),
        }
        match = {"config_hash": row["config_hash"]}
        specs[row["config_hash"]] = CellSpec(label, match, needs="the same command again")
    cells = build_cells(specs.values(), rows, include_smoke=include_smoke)
    cells = [cell for cell in cells if cell.ours is not None or not include_smoke]
    if not cells:
        return ()
    title, caption = "Options of KIP", "Without published figures; scored by the ConvNet NTK."
    return (ResultTable(title, caption, cells),)


def _spec(cell: ComparisonCell, samples: Mapping[str, str]) -> CellSpec:
    label = {
        "Data set": cell.dataset,
        "Images per class": str(cell.images_per_class),
        "Method": cell.method,
    }
    if cell.method not in _COLUMNS:
        return CellSpec(label, published=cell.figure, published_only=True)
    method, architecture = _COLUMNS[cell.method]
    dataset = registry.find(cell.dataset)
    name = samples.get(dataset.name, dataset.name)
    label["Data set"] = _title(name)
    match = {
        "dataset": name,
        "algorithm": "KRR",
        "architecture": architecture,
        "kernel": "NTK",
        "method": method,
        "images_per_class": cell.images_per_class,
        "zca": architecture == "ConvNet" and dataset.image_shape[-1] == 3,
        **NO_OPTIONS,
    }
    budget = f"all {dataset.n_train:,} targets"
    if method != "LS":
        budget = "target batch 5,000, to convergence"
    cell_of_row = next(
        c
        for c in _cells_of(dataset.name, cell.images_per_class, PRESETS["laptop"])
        if (c.method, c.architecture) == (method, architecture)
    )
    return CellSpec(label, match, cell.figure, budget, needs(cell_of_row))


def _varied(chosen: list[Cell], random_kernel: bool, support_batch: int | None) -> list[Cell]:
    """The ConvNet KIP cells with the options of the appendix, and no others if any is asked for."""
    if not random_kernel and support_batch is None:
        return chosen
    varied = [
        dataclasses.replace(
            cell,
            random_architectures=RANDOM_ARCHITECTURES if random_kernel else None,
            support_batch=support_batch,
        )
        for cell in chosen
        if (cell.procedure, cell.architecture) == ("kip", "ConvNet")
    ]
    if not varied:
        raise UserError("random kernels and support batches are for the KIP cells of the ConvNet")
    return varied


def _sampled(chosen: list[Cell], data_dir: Path | None) -> list[Cell]:
    """The cells with small samples in place of the data sets they stand for, if there are any."""
    present = dataset_names(data_dir)
    replaced = {name: sample for name, sample in SAMPLES.items() if sample in present}
    return [
        dataclasses.replace(cell, dataset=replaced.get(cell.dataset, cell.dataset))
        for cell in chosen
    ]


def main(
    preset: str = "laptop",
    datasets: tuple[str, ...] = (),
    ipc: tuple[int, ...] = (),
    methods: tuple[str, ...] = (),
    architectures: tuple[str, ...] = (),
    zca: bool | None = None,
    seeds: tuple[int, ...] = (),
    steps: int | None = None,
    target_batch: int | None = None,
    random_kernel: bool = False,
    support_batch: int | None = None,
    beside: Path | None = None,
    evaluate_only: bool = False,
    checkpoints: Path = Path("checkpoints"),
    out: Path = Path("runs"),
    data_dir: Path | None = None,
) -> None:
    """Reproduce Table 1 of arXiv 2107.13034: KIP and LS with the ConvNet kernel.

    Examples:
        python -m paper_repro.table1_comparison --datasets mnist cifar10 --ipc 1
        python -m paper_repro.table1_comparison --methods LS --seeds 0 1 2 --out results
        python -m paper_repro.table1_comparison --datasets cifar10 --methods LS --zca True
        python -m paper_repro.table1_comparison --preset gpu --datasets cifar10 --ipc 1 10
        python -m paper_repro.table1_comparison --evaluate-only --datasets mnist

    Args:
        preset: smoke, laptop, gpu or paper: how much to spend (README lists what each means).
        datasets: of mnist, fashion_mnist, svhn, cifar10 and cifar100; default all.
        ipc: images per class, of 1, 10 and 50; default all.
        methods: of "LS", "KIP (l)" and "KIP (a + l)"; default all.
        architectures: of ConvNet and FC1 (the KIP-FC column); default both.
        zca: only the cells with ZCA (True) or without (False); default both. LS on RGB sets has
            both, the latter for the appendix.
        seeds: random seeds; default as many as the preset says, from 0.
        steps: KIP steps instead of the preset's (not with the paper preset).
        target_batch: targets per KIP step instead of the preset's (not with the paper preset).
        random_kernel: draw ConvNet, Conv-3 or Conv-8 anew for every KIP step; scored by ConvNet.
        support_batch: supports per class that a KIP step draws and updates; default all.
        beside: directory of other rows that are printed below, such as results.
        evaluate_only: train nothing, score the learned sets in `checkpoints` instead.
        checkpoints: directory of learned sets.
        out: directory of rows, pictures and checkpoints; the same command resumes there.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    budget = overridden(find_preset(preset, PRESETS), steps=steps, target_batch=target_batch)
    chosen = select(
        cells(budget),
        datasets=datasets,
        ipc=ipc,
        methods=methods,
        architectures=architectures,
        zca=zca,
    )
    chosen = _varied(chosen, random_kernel, support_batch)
    chosen = _sampled(chosen, data_dir) if preset == "smoke" else chosen
    if evaluate_only:
        from paper_repro.core.runs.rescore import refuse_options_of_runs, rescore

        refuse_options_of_runs(
            seeds=seeds,
            steps=steps is not None,
            target_batch=target_batch,
            random_kernel=random_kernel,
            support_batch=support_batch is not None,
            beside=beside,
        )
        return rescore(chosen, checkpoints, data_dir)

    from paper_repro.core.runs.runner import run_table

    sizes = {(_title(cell.dataset), str(cell.images_per_class)) for cell in chosen}

    def shown(cell: TableCell) -> bool:
        return (cell.label["Data set"], cell.label["Images per class"]) in sizes

    run_table(SCRIPT, chosen, seeds, budget, out, data_dir, table, shown, beside)


if __name__ == "__main__":
    cli.run(main)
