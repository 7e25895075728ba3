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
from typing import Any, Literal

import tyro

from paper_repro.core import cli
from paper_repro.core.data import Dataset, load_dataset, require_releasable
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.methods.kip.config import Initial
from paper_repro.core.preprocess import usual
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.export import export, is_exported
from paper_repro.core.runs.gallery import draw
from paper_repro.core.runs.options import RunArguments, RunOptions
from paper_repro.core.runs.prepared_data import require_enough
from paper_repro.core.runs.presets import CONVNET, Preset, Spending, SpendingArguments, find_preset
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.runs.time_budget import spend
from paper_repro.core.store.rows import finished, rows_for
from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells
from paper_repro.core.tables.render.terminal import print_table

COMMAND = "distill"
NATURAL = "Natural"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is distilled, and how.

    Attributes:
      datasets: official names, or <name> of <name>.npz in the data directory.
      ipc: images per class.
      methods: one or several by their names in the tables, such as LS, KIP, "KIP (l)" (learned
        labels) and "KIP (a + l)" (augmented, too); an unknown name gets the list of all.
      architectures: what the kernel is of: ConvNet, ConvNet3, Conv-8, Myrtle-5, FC1, ..., with
        another activation at the end as in ConvNet-Erf, or the distances RBF and Laplace.
      kernel: NTK or NNGP of a network.
      preprocess: standard or zca; default zca for color images, standard for gray ones.
      initial: start KIP from natural images, or from noise of the same scale.
      scale: factor of the distance in the RBF and Laplace kernels; default 1.
      learn_scale: have KIP learn that factor with the images.
    """

    datasets: tuple[str, ...]
    ipc: tuple[int, ...] = (1,)
    methods: tuple[str, ...] = ("LS", "KIP (l)")
    architectures: tuple[str, ...] = ("ConvNet",)
    kernel: Literal["NTK", "NNGP"] = "NTK"
    preprocess: Literal["standard", "zca"] | None = None
    initial: Initial = "natural"
    scale: float | None = None
    learn_scale: bool = False

    def __post_init__(self):
        for name in ("datasets", "ipc", "methods", "architectures"):
            if not getattr(self, name):
                raise UserError(f"--{name} needs at least one value")

    @property
    def kernels(self) -> list[KernelSpec]:
        """The kernels, named as rows name them."""
        return [self._kernel(name) for name in self.architectures]

    def _kernel(self, name: str) -> KernelSpec:
        spec = KernelSpec(name, self.kernel)
        if not spec.is_distance:
            return KernelSpec(from_name(name).name, self.kernel, self.scale, self.learn_scale)
        return dataclasses.replace(spec, scale=self.scale, learn_scale=self.learn_scale)

    def cells(self, data: Dataset, budget: Preset) -> list[Cell]:
        """The cells of a data set: natural images of each size and kernel, then each method."""
        zca = (self.preprocess or usual(data)) == "zca"
        found = []
        for images, kernel in itertools.product(self.ipc, self.kernels):
            for method in (NATURAL, *self.methods):
                spec = kernel
                if method == NATURAL:
                    spec = dataclasses.replace(kernel, learn_scale=False)
                cell = distilling_cell(method, data.name, images, spec, budget, zca=zca)
                if "initial" in cell.method_object.option_fields:
                    config = dataclasses.replace(cell.config, initial=self.initial)
                    cell = dataclasses.replace(cell, config=config)
                elif self.learn_scale and method != NATURAL:
                    raise UserError(
                        f"{method} cannot learn a scale: leave out --learn-scale, or that method"
                    )
                found.append(cell)
        if self.initial != "natural" and not any(
            "initial" in cell.method_object.option_fields for cell in found
        ):
            raise UserError(f"--initial {self.initial} is for KIP: choose it, or leave that out")
        return found


def table(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The accuracy of each cell."""
    specs = [
        CellSpec(
            {
                "Data set": cell.dataset,
                "Images per class": str(cell.images_per_class),
                "Method": cell.method,
                "Scored by": _scorer(cell),
            },
            {"config_hash": cell.config_hash},
        )
        for cell in cells
    ]
    return ResultTable(
        "Distilled sets, and natural images of the same number",
        "Test accuracy in percent, all test images, by kernel ridge regression with the named "
        "kernel, or of networks trained on the set; mean over n seeds with its 95 % interval.",
        build_cells(specs, rows),
    )


def _scorer(cell: Cell) -> str:
    if cell.scorer.uses_kernel:
        return f"{cell.architecture} {cell.kernel.kernel}"
    return f"networks, {cell.scorer.row_fields['architecture']}"


def _with_exported(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each once, and after one that networks score the same set by the kernel.

    A record states what the kernel gives, so that whoever has the set can check it.
    """
    found = []
    for cell in cells:
        learning = cell.learning_cell
        found += [cell] if learning == cell or not is_exported(learning) else [cell, learning]
    return list({cell.config_hash: cell for cell in found}.values())


def main(
    recipe: tyro.conf.OmitArgPrefixes[Recipe],
    options: RunArguments = RunOptions(),
    spending: SpendingArguments = Spending(),
) -> None:
    """Distil data sets, official ones or your own, by KIP or Label Solve.

    Examples:
        python -m paper_repro.distill --datasets mnist --methods LS "KIP (l)" --steps 40
        python -m paper_repro.distill --datasets shapes --data-dir my_data --ipc 1 10
        python -m paper_repro.distill --datasets mnist --architectures RBF --methods KIP \\
            --learn-scale --initial noise
        python -m release build --checkpoints runs/checkpoints --data-dir my_data --out build/mine

    Args:
        recipe: what is distilled, and how.
        options: how it is run; of the seeds the first is drawn and exported.
        spending: what KIP spends instead of what the preset says.
    """
    budget = spending.of(find_preset(options.preset, CONVNET))
    used, out = options.seeds_of(budget), options.out
    cells = []
    for data in _loaded(recipe, options.data_dir):
        wanted = recipe.cells(data, budget)
        for cell in wanted:
            require_enough(cell, data)
        cells += spend(spending, wanted, options)
    cells = _with_exported(cells)
    unfinished = run_cells(COMMAND, cells, used, options)
    if unfinished.missing:
        raise next(iter(unfinished.missing.values()))
    rows = rows_for(COMMAND, out, smoke=options.is_smoke)
    draw(COMMAND, cells, rows, options, used[0])
    print_table(table(cells, rows))
    learned = {cell.config_hash for cell in cells if is_exported(cell)}
    if options.is_smoke:
        say("a smoke run is a test: its sets are not exported")
    elif any(finished(rows, h, s) for h in learned for s in used):
        _export(out, used, options.data_dir, learned)
    unfinished.require_none()


def _export(
    out: Path, seeds: Sequence[int], data_dir: Path | None, wanted: Collection[str]
) -> None:
    """Write the learned sets, and say how they become a release."""
    place = out / "checkpoints"
    export(out, place, seeds, 100, data_dir, wanted)
    words = ["python", "-m", "release", "build", "--checkpoints", str(place)]
    words += ["--data-dir", str(data_dir)] if data_dir is not None else []
    build = f"{shlex.join(words)} --out build/mine --repo YOU/NAME"
    print(f"learned sets in {place}; as a release: {build}")


def _loaded(recipe: Recipe, data_dir: Path | None) -> list[Dataset]:
    """The data sets, each with a name that a release can carry."""
    found = [load_dataset(name, data_dir) for name in recipe.datasets]
    for data in found:
        require_releasable(data.name, data.class_names)
    return found


if __name__ == "__main__":
    cli.run(main)
