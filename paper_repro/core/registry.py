"""The table and figure scripts, with what each costs; found on disk, not imported."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from paper_repro.core.results import read_rows
from paper_repro.core.tables import ResultTable

CELL_FIELDS = (
    "dataset",
    "images_per_class",
    "method",
    "algorithm",
    "architecture",
    "kernel",
    "zca",
    "learned_labels",
    "augmentation",
)


class TableModule(Protocol):
    """What a table script exposes besides its command line."""

    SCRIPT: str

    def table(self, rows: Sequence[Mapping[str, Any]]) -> ResultTable:
        """The table as far as `rows` fill it."""
        ...


@dataclass(frozen=True)
class Script:
    """One script: its module's name in `paper_repro`, what it reproduces, what it takes."""

    name: str
    reproduces: str
    cost: Sequence[str]

    @property
    def exists(self) -> bool:
        """Whether this checkout or installation has it."""
        return importlib.util.find_spec(f"paper_repro.{self.name}") is not None

    def load(self) -> TableModule:
        """Import it."""
        return cast(TableModule, importlib.import_module(f"paper_repro.{self.name}"))


_SCRIPTS = (
    Script(
        "table1_comparison",
        "KIP and LS with the ConvNet kernel on five data sets, beside DC, DSA and KIP-FC",
        (
            "laptop: 5 minutes on two cores for a KIP cell of 10 images, 80 s for LS",
            "gpu: one card",
        ),
    ),
    Script(
        "table2_transfer",
        "Finite ConvNets trained on the learned sets, beside DC and DSA",
        (
            "laptop: 2 core-minutes a set of 10 images, 20 of 100 or more; width 64",
            "gpu: one card; width 1,024",
        ),
    ),
    Script(
        "figure3_width",
        "Transfer to finite ConvNets against their width and the KIP training step",
        (
            "laptop: half an hour on two cores for sets of 10 images",
            "gpu: one card, widths to 2,048",
        ),
    ),
    Script(
        "figure4_hyperparameters",
        "KIP images against natural ones over a grid of hyperparameters",
        ("laptop: 20 minutes on two cores for sets of 10 images", "gpu: one card"),
    ),
    Script(
        "figure_kip_trajectory",
        "The first KIP steps on CIFAR-10 against the official release's index",
        ("laptop: 6 to 15 minutes on two cores a draw", "paper: three draws"),
    ),
    Script(
        "table_a3_ablation",
        "CIFAR-10: ZCA x learned labels x augmentation",
        ("laptop: 40 minutes on two cores for the eight cells of 10 images", "gpu: one card"),
    ),
    Script(
        "table_cheap_kernels",
        "KIP and LS with RBF and FC1 kernels, CIFAR-10, 10 and 100 images",
        ("laptop: 4 minutes on two cores", "paper: hours on two cores; no GPU needed"),
    ),
)


def scripts() -> tuple[Script, ...]:
    """The scripts that exist, in the order of the paper."""
    return tuple(script for script in _SCRIPTS if script.exists)


@dataclass(frozen=True)
class Progress:
    """What a result file holds: cells with a done row, those at the paper preset, done rows."""

    cells: int
    paper_cells: int
    rows: int


def progress(results: Path, script: str) -> Progress:
    """Count the done rows of `results/<script>.jsonl`; smoke runs do not count.

    Raises:
      UserError: the file holds a corrupted line.
    """
    rows = [
        row
        for row in read_rows(results / f"{script}.jsonl")
        if row["status"] == "done" and row["preset"] != "smoke"
    ]
    cells = {tuple(row[f] for f in CELL_FIELDS) for row in rows}
    at_paper = {tuple(row[f] for f in CELL_FIELDS) for row in rows if row["preset"] == "paper"}
    return Progress(len(cells), len(at_paper), len(rows))
