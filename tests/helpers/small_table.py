"""A table of one KIP cell on a small data set of its own, as a command: tests stop and resume it.

python small_table.py --out DIR --data-dir DIR --steps 300 --architecture ConvNet
"""

from pathlib import Path

import numpy as np

from paper_repro.core import cli
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.store.rows import results_path, run_directory

SCRIPT = "small_table"


def cell(steps: int, architecture: str = "FC1") -> Cell:
    """KIP with learned labels, two images per class; the test set is scored ten times or so."""
    config = KIPConfig(2, steps, target_batch=120, learn_labels=True, test_share=0.1)
    return Cell("small", "KIP", config, KernelSpec(architecture))


def write_data(directory: Path) -> Path:
    """`small.npz`: three classes of noisy 8x8 images."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    patterns = rng.uniform(80, 176, (3, 8, 8, 3))
    arrays = {}
    for split, n in (("train", 240), ("test", 90)):
        labels = np.arange(n) % 3
        noisy = patterns[labels] + rng.normal(0, 90, (n, 8, 8, 3))
        arrays[f"x_{split}"] = np.clip(noisy, 0, 255).astype(np.uint8)
        arrays[f"y_{split}"] = labels
    np.savez(directory / "small.npz", **arrays)
    return directory


def rows_of(out: Path) -> Path:
    return results_path(out, SCRIPT)


def run_of(out: Path, steps: int, architecture: str = "FC1") -> Path:
    return run_directory(out, cell(steps, architecture).config_hash, seed=0)


def main(out: Path, data_dir: Path, steps: int = 30, architecture: str = "FC1") -> None:
    """Run the cell.

    Args:
        out: where to.
        data_dir: where `small.npz` is.
        steps: of KIP.
        architecture: by name.
    """
    options = RunOptions("smoke", out=out, data_dir=data_dir)
    run_cells(SCRIPT, [cell(steps, architecture)], [0], options)


if __name__ == "__main__":
    cli.run(main)
