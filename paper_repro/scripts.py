"""The table and figure scripts, with what each costs; found on disk, not imported."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from paper_repro.core.tables.cells import ResultTable


class TableModule(Protocol):
    """What a table script exposes besides its command line.

    One that draws curves of its rows has `draw(rows, out)` too, which writes them into
    `out/pictures` and returns their paths.
    """

    SCRIPT: str

    def table(self, rows: Sequence[Mapping[str, Any]]) -> ResultTable:
        """The table as far as `rows` fill it."""
        ...


@dataclass(frozen=True)
class Script:
    """One script, with what it takes at the presets made for two cores and for one GPU.

    Attributes:
      name: its module's in `paper_repro`.
      reproduces: one line.
      two_cores: measured times.
      gpu: what the gpu preset spends; no time, as none was measured.
      pictures: names of those in `results/pictures` that do not begin with the script's.
      page_only: RESULTS.md names its page and does not show its table.
    """

    name: str
    reproduces: str
    two_cores: str
    gpu: str
    pictures: Sequence[str] = ()
    page_only: bool = False

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
        "laptop: 12 minutes for a KIP cell of 10 images, 2 to 6 for LS, no AVX-512",
        "1,000 KIP steps with target batch 5,000, three draws a cell",
    ),
    Script(
        "table_dc_coresets",
        "DC and DSA against coresets, DD and LD, on five data sets",
        "laptop: two hours for ten images of DC, two to four minutes a network, busy machine",
        "1,000 iterations with 256 natural images a class, 5 sets with 20 networks each",
    ),
    Script(
        "table_judges",
        "Every method's set by the exact kernel and by DC's network",
        "laptop: three to six minutes a set of ten images, on a busy machine without AVX-512",
        "20 networks a set, three draws",
    ),
    Script(
        "figure_cross_architecture",
        "Sets of every method in six finite networks",
        "laptop: seconds a set of ten images in MLP and LeNet; the others were not timed",
        "20 networks a set and architecture, three draws",
        page_only=True,
    ),
    Script(
        "table2_transfer",
        "Finite ConvNets trained on the learned sets, beside DC and DSA",
        "laptop: 2 minutes a set of 10 images, 10 of 100 or more; width 64",
        "width 1,024, 5,000 updates a training, three seeds a set",
    ),
    Script(
        "figure3_width",
        "Transfer to finite ConvNets against their width and the KIP training step",
        "laptop: half an hour for sets of 10 images",
        "widths 8 to 2,048, 5,000 updates a training, three seeds",
        pictures=("figure3_steps",),
        page_only=True,
    ),
    Script(
        "figure4_hyperparameters",
        "KIP images against natural ones over a grid of hyperparameters",
        "laptop: 20 minutes for sets of 10 images",
        "64 settings, each trained twice at width 1,024, three seeds",
        page_only=True,
    ),
    Script(
        "figure_kip_trajectory",
        "The first KIP steps on CIFAR-10 against the official release's index",
        "laptop: 6 to 8 minutes a draw, without AVX-512; paper: three draws",
        "six KIP steps with target batch 5,000, three draws",
        page_only=True,
    ),
    Script(
        "figure_kip_schedule",
        "KIP at equal numbers of targets: batch size and decay of the rate",
        "laptop: 7 to 15 minutes a run on one busy core without AVX-512",
        "60,000 targets in all, three draws",
        page_only=True,
    ),
    Script(
        "figure_kernels",
        "Sets learned with the ConvNet NTK, scored with other kernels",
        "laptop: minutes a data set",
        "all test images, three draws of natural images",
        page_only=True,
    ),
    Script(
        "figure_loss_buffer",
        "Coresets of MNIST with wrong labels, and learned images rebuilt from few components",
        "laptop: six minutes a seed on one core, estimated from a part",
        "all images, ConvNet of width 128, three seeds",
        page_only=True,
    ),
    Script(
        "table_a3_ablation",
        "CIFAR-10: ZCA x learned labels x augmentation",
        "laptop: two hours for the eight cells of 10 images, without AVX-512",
        "1,000 KIP steps with target batch 5,000, three draws a cell",
    ),
    Script(
        "table_cheap_kernels",
        "KIP and LS with RBF and FC1 kernels, CIFAR-10, 10 and 100 images",
        "laptop: 4 minutes; paper: hours",
        "the paper's budget; it needs no GPU",
    ),
    Script(
        "table_dc_vs_dd",
        "DC against DD on LeNet and AlexCifarNet, in PyTorch",
        "laptop: 20 minutes for DD on MNIST; CIFAR-10 needs a GPU",
        "the published numbers of steps and networks, three seeds",
        page_only=True,
    ),
)


def scripts() -> tuple[Script, ...]:
    """The scripts that exist, in the order of the paper."""
    return tuple(script for script in _SCRIPTS if script.exists)


def page_only() -> frozenset[str]:
    """The scripts that RESULTS.md names without showing their tables."""
    return frozenset(script.name for script in _SCRIPTS if script.page_only)


def other_pictures(script: str) -> tuple[str, ...]:
    """`Script.pictures` by name; none of a script that is not in the list."""
    return tuple(name for known in _SCRIPTS if known.name == script for name in known.pictures)
