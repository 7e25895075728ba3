"""Distil any data set, an official one or your own, by KIP or Label Solve.

    python -m paper_repro.distill --datasets mnist --ipc 1 --methods LS "KIP (l)" --steps 40
    python -m paper_repro.distill --datasets shapes --data-dir my_data --architectures FC1

Images of your own are a file `<name>.npz` in the data directory; `paper_repro.core.data.write_own`
makes it of an array of images and one of labels. Beside the rows this prints how natural images of
the same number do, and it exports what was learned into `checkpoints/` of the output directory,
from which `python -m release build` makes a release. Cells that a table has are the same runs.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro import table1_comparison
from paper_repro.core import cli
from paper_repro.core.errors import UserError
from paper_repro.core.experiment.cell import Cell
from paper_repro.core.experiment.methods import distilling_cell
from paper_repro.core.experiment.presets import find_preset, overridden
from paper_repro.core.tables import CellSpec, ResultTable, build_cells

COMMAND = "distill"
PREPROCESSING = ("standard", "zca")


def table(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]], smoke: bool) -> ResultTable:
    """The accuracy of each cell."""
    specs = [
        CellSpec(
            {
                "Data set": cell.dataset,
                "Images per class": str(cell.images_per_class),
                "Method": cell.method,
                "Kernel": f"{cell.architecture} {cell.kernel}",
            },
            {"config_hash": cell.config_hash},
        )
        for cell in cells
    ]
    return ResultTable(
        "Distilled sets, and natural images of the same number",
        "Test accuracy in percent by kernel ridge regression, all test images; mean over n seeds "
        "with its 95 % interval.",
        build_cells(specs, rows, include_smoke=smoke),
    )


def main(
    datasets: tuple[str, ...],
    ipc: tuple[int, ...] = (1,),
    methods: tuple[str, ...] = ("LS", "KIP (l)"),
    architectures: tuple[str, ...] = ("ConvNet",),
    kernel: str = "NTK",
    preprocess: str | None = None,
    preset: str = "laptop",
    seeds: tuple[int, ...] = (),
    steps: int | None = None,
    target_batch: int | None = None,
    out: Path = Path("runs"),
    data_dir: Path | None = None,
) -> None:
    """Distil data sets, official ones or your own, by KIP or Label Solve.

    Examples:
        python -m paper_repro.distill --datasets mnist --methods LS "KIP (l)" --steps 40
        python -m paper_repro.distill --datasets shapes --data-dir my_data --ipc 1 10
        python -m release build --checkpoints runs/checkpoints --data-dir my_data --out build/mine

    Args:
        datasets: official names, or <name> of <name>.npz in the data directory.
        ipc: images per class.
        methods: of LS, KIP, "KIP (l)" (learned labels), "KIP (a)" (augmented), "KIP (a + l)".
        architectures: whose kernel is used: ConvNet, ConvNet3, Conv-n, Myrtle-5, FC1, ...
        kernel: NTK or NNGP.
        preprocess: standard or zca; default zca for color images, standard for gray ones.
        preset: smoke, laptop, gpu or paper: how much to spend (README lists what each means).
        seeds: random seeds; default as many as the preset says, from 0.
        steps: KIP steps instead of the preset's (not with the paper preset).
        target_batch: targets per KIP step instead of the preset's (not with the paper preset).
        out: directory of rows, pictures and checkpoints; the same command resumes there.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    from paper_repro.core.experiment.export import export
    from paper_repro.core.experiment.gallery import draw
    from paper_repro.core.experiment.runner import rows_for, run_cells
    from paper_repro.core.render.terminal import print_table

    if preprocess not in (None, *PREPROCESSING):
        raise UserError(
            f"unknown preprocessing {preprocess!r}: choose one of {', '.join(PREPROCESSING)}"
        )
    budget = overridden(find_preset(preset, table1_comparison.PRESETS), steps, target_batch)
    if any(seed < 0 for seed in seeds):
        raise UserError(f"seeds must not be negative, got {min(seeds)}")
    used = tuple(seeds) or tuple(range(budget.seeds))
    cells = []
    for name, has_color in _loaded(datasets, data_dir):
        zca = has_color if preprocess is None else preprocess == "zca"
        for images in ipc:
            for architecture in architectures:
                network = {"architecture": architecture, "kernel": kernel, "zca": zca}
                made = [distilling_cell(m, name, images, budget, **network) for m in methods]
                cells += [_natural(made[0]), *made]
    missing = run_cells(COMMAND, cells, used, budget.name, out, data_dir)
    if missing:
        raise next(iter(missing.values()))
    rows = rows_for(COMMAND, out)
    draw(COMMAND, cells, rows, out, data_dir)
    print_table(table(cells, rows, budget.name == "smoke"))
    if budget.name == "smoke":
        return
    place = out / "checkpoints"
    export(out, place, used[0], 100, data_dir)
    words = ["python", "-m", "release", "build", "--checkpoints", str(place)]
    words += ["--data-dir", str(data_dir)] if data_dir is not None else []
    print(f"learned sets in {place}; as a release: {shlex.join(words)} --out build/mine")


def _loaded(datasets: Sequence[str], data_dir: Path | None) -> list[tuple[str, bool]]:
    """The data sets by their own names, and whether their images have colors."""
    from paper_repro.core.data import dataset_names, load_dataset

    if not datasets:
        raise UserError(f"name a data set: --datasets {' '.join(dataset_names(data_dir))}")
    found = [load_dataset(name, data_dir) for name in datasets]
    return [(data.name, data.image_shape[-1] == 3) for data in found]


def _natural(cell: Cell) -> Cell:
    """Natural images of the same number, scored by the same kernel."""
    natural = Cell(
        *(cell.dataset, cell.images_per_class, "Natural", "natural"),
        *(cell.architecture, cell.kernel),
    )
    data = {name: getattr(cell, name) for name in ("zca", "n_train", "n_test", "image_side")}
    return dataclasses.replace(natural, **data)


if __name__ == "__main__":
    cli.run(main)
