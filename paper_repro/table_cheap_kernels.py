"""KIP and LS with cheap kernels (RBF, FC1) on CIFAR-10, 10 and 100 images: arXiv 2011.00050.

python -m paper_repro.table_cheap_kernels --preset laptop
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from paper_repro.core import cli
from paper_repro.core.augment import Augmentation
from paper_repro.core.experiment.cell import Cell
from paper_repro.core.experiment.presets import SMOKE, Preset
from paper_repro.core.experiment.presets import preset as find_preset
from paper_repro.core.experiment.runner import run_cells

SCRIPT = "table_cheap_kernels"

_PAPER = Preset("paper", steps=10_000, target_batch=5_000, patience=1_000, seeds=3)
PRESETS = {
    "smoke": SMOKE,
    "laptop": Preset("laptop", steps=300, target_batch=5_000, network_steps=1_000),
    "gpu": dataclasses.replace(_PAPER, name="gpu"),
    "paper": _PAPER,
}
NATURAL_IMAGES_PER_CLASS = (1, 10, 128, 500)


def cells(budget: Preset) -> list[Cell]:
    """The cells this project runs, KRR first; the appendix's natural supports last."""
    common = {"n_train": budget.n_train, "n_test": budget.n_test, "image_side": budget.image_side}
    kip = {
        "procedure": "kip",
        "steps": budget.steps,
        "target_batch": budget.target_batch,
        "patience": budget.patience,
    }
    grid: list[Cell] = []
    for images_per_class in (1, 10):
        for architecture, kernel in (("RBF", "RBF"), ("FC1", "NTK")):
            base = Cell(
                "cifar10",
                images_per_class,
                "KIP",
                **kip,
                architecture=architecture,
                kernel=kernel,
                **common,
            )
            grid.append(base)
            grid.append(
                dataclasses.replace(
                    base, method="KIP (a + l)", learned_labels=True, augmentation=Augmentation()
                )
            )
        grid.append(
            Cell(
                "cifar10",
                images_per_class,
                "LS",
                "label_solve",
                "FC1",
                "NNGP",
                learned_labels=True,
                **common,
            )
        )
    return grid


def main(
    preset: str = "laptop",
    ipc: tuple[int, ...] = (1, 10),
    methods: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    out: Path = Path("runs"),
    data_dir: Path | None = None,
) -> None:
    """Reproduce the cheap-kernel table."""
    budget = find_preset(preset, PRESETS)
    chosen = [
        c
        for c in cells(budget)
        if c.images_per_class in ipc and (not methods or c.method in methods)
    ]
    run_cells(SCRIPT, chosen, seeds or range(budget.seeds), budget.name, out, data_dir)


if __name__ == "__main__":
    cli.run(main)
