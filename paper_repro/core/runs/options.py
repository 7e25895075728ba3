"""What every table script takes from its command line: how to run, and which cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.execution import Execution, ExecutionArguments
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.presets import Preset
from paper_repro.core.store.row_schema import PRESETS


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """How the cells of a table are run that evaluates no kernel.

    Attributes:
      preset: smoke, laptop, gpu or paper: how much to spend (docs/presets.md says how much).
      seeds: random seeds; default as many as the preset says, from 0.
      out: directory of rows, pictures and checkpoints; the same command resumes there.
      data_dir: directory with <name>.npz files or snapshots of the Hub's files.

    Raises:
      UserError: an unknown preset, or a negative seed.
    """

    preset: str = "laptop"
    seeds: tuple[int, ...] = ()
    out: Path = Path("runs")
    data_dir: Path | None = None
    # Without annotation it is no field, so that no command line has options for it.
    execution = Execution()

    def __post_init__(self):
        if self.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise UserError(f"unknown preset {self.preset!r}: choose one of {known}")
        if any(seed < 0 for seed in self.seeds):
            raise UserError(f"seeds must not be negative, got {min(self.seeds)}")

    @property
    def is_smoke(self) -> bool:
        """Whether this is a smoke test, whose rows count in no other table."""
        return self.preset == "smoke"

    def seeds_of(self, budget: Preset) -> tuple[int, ...]:
        """The seeds that are run."""
        return tuple(self.seeds) or tuple(range(budget.seeds))


@dataclasses.dataclass(frozen=True)
class RunOptions(NetworkOptions):
    """How the cells of a table are run, whatever they are.

    Attributes:
      preset, seeds, out, data_dir: see `NetworkOptions`.
      execution: how kernels are computed.
    """

    execution: ExecutionArguments = Execution()


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which cells of a table are run; what is left out takes all.

    Attributes:
      datasets: names of data sets, as `cifar10`; default all of the table.
      ipc: images per class; default all sizes of the table.
      methods: names of methods, as "KIP (a + l)"; default all of the table.
    """

    datasets: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()

    def choose(
        self, cells: Sequence[Cell], architectures: Sequence[str] = (), zca: bool | None = None
    ) -> list[Cell]:
        """The cells with one of the given values in each field.

        Args:
          cells: the cells of the table.
          architectures: the kernels' architectures; none given takes all.
          zca: take the cells with ZCA alone (True) or without (False); None takes both.

        Raises:
          UserError: a value that no cell has, or nothing left.
        """
        filters = (
            ("data set", "--datasets", self.datasets, lambda cell: cell.dataset),
            ("images per class", "--ipc", self.ipc, lambda cell: cell.images_per_class),
            ("method", "--methods", self.methods, lambda cell: cell.method),
            ("architecture", "--architectures", architectures, lambda cell: cell.architecture),
            ("ZCA", "--zca", () if zca is None else (zca,), lambda cell: cell.zca),
        )
        chosen, given = list(cells), []
        for what, option, wanted, value_of in filters:
            if not wanted:
                continue
            known = {value_of(cell) for cell in cells}
            if what != "ZCA" and (unknown := [value for value in wanted if value not in known]):
                choices = ", ".join(map(str, sorted(known)))
                raise UserError(
                    f"unknown {what} {unknown[0]!r} in this table: choose from {choices}"
                )
            chosen = [cell for cell in chosen if value_of(cell) in wanted]
            given.append(f"{option} {' '.join(map(str, wanted))}")
        if not chosen:
            raise UserError(f"no cell matches {' '.join(given)}: relax one filter")
        return chosen


RunArguments = tyro.conf.OmitArgPrefixes[Annotated[RunOptions, tyro.conf.arg(name="run")]]
NetworkArguments = tyro.conf.OmitArgPrefixes[Annotated[NetworkOptions, tyro.conf.arg(name="run")]]
SelectionArguments = tyro.conf.OmitArgPrefixes[Annotated[Selection, tyro.conf.arg(name="cell")]]
"""They as arguments of a `main`: what they are called in its help."""
