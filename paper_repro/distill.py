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
import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from paper_repro.core import cli
from paper_repro.core.architecture import from_name
from paper_repro.core.data import Dataset, load_dataset, require_releasable
from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.methods import distilling_cell
from paper_repro.core.runs.presets import CONVNET, find_preset, overridden
from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells

COMMAND = "distill"
PREPROCESSING = ("standard", "zca")
NATURAL = "Natural"
KernelName = Literal["NTK", "NNGP"]


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
        architectures: networks whose kernel is used: ConvNet, ConvNet3, Conv-8, Myrtle-5, FC1, ...
        kernel: NTK or NNGP.
        preprocess: standard or zca; default zca for color images, standard for gray ones.
        preset: smoke, laptop, gpu or paper: how much to spend (README lists what each means).
        seeds: random seeds, of which the first is drawn and exported; default as many as the preset
            says, from 0.
        steps: KIP steps instead of the preset's (not with the paper preset).
        target_batch: targets per KIP step instead of the preset's (not with the paper preset).
        out: directory of rows, pictures and checkpoints; the same command resumes there.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    from paper_repro.core.preprocess import usual
    from paper_repro.core.runs.gallery import draw
    from paper_repro.core.runs.runner import run_cells
    from paper_repro.core.store.rows import finished, rows_for
    from paper_repro.core.tables.render.terminal import print_table

    needed = {"datasets": datasets, "ipc": ipc, "methods": methods, "architectures": architectures}
    for name, given in needed.items():
        if not given:
            raise UserError(f"--{name} needs at least one value")
    if preprocess not in (None, *PREPROCESSING):
        raise UserError(
            f"unknown preprocessing {preprocess!r}: choose one of {', '.join(PREPROCESSING)}"
        )
    if kernel not in get_args(KernelName):
        raise UserError(f"unknown kernel {kernel!r}: choose one of NTK, NNGP")
    if any(seed < 0 for seed in seeds):
        raise UserError(f"seeds must not be negative, got {min(seeds)}")
    networks = [from_name(name).name for name in architectures]
    budget = overridden(find_preset(preset, CONVNET), steps=steps, target_batch=target_batch)
    used = tuple(seeds) or tuple(range(budget.seeds))
    cells = []
    for data in _loaded(datasets, ipc, data_dir):
        _refuse_other_images(data, rows_for(COMMAND, out), out)
        zca = (preprocess or usual(data)) == "zca"
        for images, network in itertools.product(ipc, networks):
            named = {"architecture": network, "kernel": kernel, "zca": zca}
            made = [distilling_cell(m, data.name, images, budget, **named) for m in methods]
            cells += [_natural(made[0]), *made]
    undone = run_cells(COMMAND, cells, used, budget.name, out, data_dir)
    if undone.missing:
        raise next(iter(undone.missing.values()))
    rows = rows_for(COMMAND, out)
    draw(COMMAND, cells, rows, out, data_dir, used[0])
    print_table(table(cells, rows, budget.name == "smoke"))
    learned = {cell.config_hash for cell in cells if cell.method != NATURAL}
    if budget.name != "smoke" and any(finished(rows, h, s) for h in learned for s in used):
        _export(out, used, data_dir, learned)
    undone.require_none()


def _export(
    out: Path, seeds: Sequence[int], data_dir: Path | None, wanted: Collection[str]
) -> None:
    """Write the learned sets, and say how they become a release."""
    from paper_repro.core.runs.export import export

    place = out / "checkpoints"
    export(out, place, seeds, 100, data_dir, wanted)
    words = ["python", "-m", "release", "build", "--checkpoints", str(place)]
    words += ["--data-dir", str(data_dir)] if data_dir is not None else []
    build = f"{shlex.join(words)} --out build/mine --repo YOU/NAME"
    print(f"learned sets in {place}; as a release: {build}")


def _loaded(datasets: Sequence[str], ipc: Sequence[int], data_dir: Path | None) -> list[Dataset]:
    """The data sets, each with images enough and a name that a release can carry."""
    found = [load_dataset(name, data_dir) for name in datasets]
    for data in found:
        require_releasable(data.name, data.class_names)
        smallest = int(np.bincount(data.y_train, minlength=data.n_classes).min())
        for images in ipc:
            if not 1 <= images <= smallest:
                raise UserError(
                    f"images per class must be between 1 and {smallest} (the smallest class of "
                    f"{data.title}), not {images}"
                )
    return found


def _refuse_other_images(data: Dataset, rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Rows are found by what was run, which names a data set and not its images."""
    for row in rows:
        whole = row["dataset"] == data.name and row["preset"] != "smoke"
        if whole and row["data_sha256"] != data.data_sha256:
            raise UserError(
                f"{out} holds runs on other images called {data.name}: choose another --out, or "
                "another name for these"
            )


def _natural(cell: Cell) -> Cell:
    """Natural images of the same number, scored by the same kernel."""
    natural = Cell(
        *(cell.dataset, cell.images_per_class, NATURAL, "natural"),
        *(cell.architecture, cell.kernel),
    )
    data = {name: getattr(cell, name) for name in ("zca", "n_train", "n_test", "image_side")}
    return dataclasses.replace(natural, **data)


if __name__ == "__main__":
    cli.run(main)
