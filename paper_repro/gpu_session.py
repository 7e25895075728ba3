"""A quarter of an hour on a card: one command that needs no decision and goes on where it stopped.

In this order, as far as the time goes: values and gradients against float64; the benchmark beside
the jax backend and neural-tangents; Label Solve of the data sets at hand at 1, 10 and 50 images
per class; KIP at the paper's target batch, 1 per class, then 10, learned labels, then fixed; DC and
DSA, where PyTorch is installed; finite networks of width 1,024 trained on the sets. What has ended
is written at once and never repeated. On any machine, beforehand:

    python -m paper_repro.gpu_session --pack parts --datasets mnist fashion_mnist cifar10

and on the card:

    python -m paper_repro.gpu_session --minutes 9 --data-dir parts --out session

`session/archive` then holds all of it in files under 16 MiB, most wanted first; a bare machine
that has that folder under its `--out` goes on from there.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from paper_repro import table1_comparison as table1
from paper_repro import table2_transfer as table2
from paper_repro.benchmark.kernel import compare
from paper_repro.benchmark.oracle import check
from paper_repro.core import cli, lazy
from paper_repro.core.data import dataset_names, load_dataset, local, registry
from paper_repro.core.data.parts import incomplete_names, write_parts
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.pool.cards import Cards
from paper_repro.core.machine.time_limit import STOP_SECONDS, TimeLimit
from paper_repro.core.runs.cell import Cell, distilling_cell
from paper_repro.core.runs.export import export, is_exported
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.runner import run_cells
from paper_repro.core.runs.transfer_cells import SetSource
from paper_repro.core.sets import catalogue
from paper_repro.core.store.archive import read_archives, write_archives
from paper_repro.core.store.files import exclusive, require_writable
from paper_repro.core.store.json_lines import JsonLines
from paper_repro.core.store.provenance import provenance
from paper_repro.core.store.rows import finished, read_rows, results_path

if TYPE_CHECKING:
    import jax
else:
    jax = lazy.module("jax")

ARCHIVES = "archive"
_LOG = "items/items.jsonl"


@dataclasses.dataclass(frozen=True)
class Size:
    """What a session computes.

    Attributes:
      preset: what cells may spend.
      architecture, shapes: of the first two items.
      backends: of the benchmark.
      pairs: of the benchmark.
    """

    preset: Literal["gpu", "smoke"]
    architecture: str
    shapes: tuple[tuple[int, int, int], ...]
    backends: tuple[str, ...]
    pairs: int


SIZES = {
    "gpu": Size("gpu", "convnet", ((32, 32, 3), (28, 28, 1)), ("cuda", "jax"), 10_000),
    "smoke": Size("smoke", "conv-1", ((8, 8, 1),), ("numba", "jax"), 64),
}


def main(
    minutes: float = 9.0,
    out: Path = Path("session"),
    data_dir: Path | None = None,
    datasets: tuple[str, ...] = (),
    preset: Literal["gpu", "smoke"] = "gpu",
    pack: Path | None = None,
) -> None:
    """Do on a card what fits into some minutes; the same command goes on where it stopped.

    Examples:
        python -m paper_repro.gpu_session --pack parts --datasets mnist fashion_mnist
        python -m paper_repro.gpu_session --minutes 9 --data-dir parts --out session
        python -m paper_repro.gpu_session --minutes 5 --preset smoke --data-dir parts

    Args:
        minutes: the command ends by itself within this time.
        out: directory of rows, sets, checkpoints and `archive`, the same in few files.
        data_dir: folder of data sets as parts or <name>.npz; parts may still be missing.
        datasets: names of data sets; default all that are whole in the folder.
        preset: gpu, or smoke to rehearse on a CPU.
        pack: write the data sets as parts into this folder, and do nothing else.
    """
    if pack is not None:
        return _pack(pack, data_dir, datasets)
    if not STOP_SECONDS < minutes * 60 < math.inf:
        raise UserError(f"--minutes {minutes:g} leaves no time: give at least 0.2")
    require_writable(out)
    clock = TimeLimit(60 * minutes)
    with exclusive(out), clock.running():
        read_archives(out / ARCHIVES, out)
        session = Session(out, data_dir, datasets, SIZES[preset], clock)
        try:
            session.run()
        finally:
            session.archive()
    if session.is_over:
        sys.stdout.flush()
        sys.stderr.flush()
        # A compiler that was interrupted may not survive an orderly end.
        os._exit(2 if session.problems else 0)
    session.require_all_done()


class Session:
    """The items in their order, and the log of those that have ended."""

    def __init__(
        self,
        out: Path,
        data_dir: Path | None,
        datasets: tuple[str, ...],
        size: Size,
        clock: TimeLimit,
    ):
        if size.preset == "gpu" and jax.default_backend() == "cpu":
            raise UserError(
                "JAX sees no card: install jax[cuda13] and the cuda extra there, or rehearse with "
                "--preset smoke"
            )
        self.out, self.size, self.clock = out, size, clock
        self.data_dir = local.data_directory(data_dir)
        cards = Cards() if len(jax.local_devices()) > 1 else None
        execution = Execution(pool=cards)
        self.options = RunOptions(size.preset, (), out, self.data_dir, execution)
        self.log = JsonLines(out / _LOG)
        self.budget = table1.PRESETS[size.preset]
        self.datasets = self._at_hand(datasets)
        self.problems: list[str] = []
        self.is_over = False

    def run(self) -> None:
        """Every item that has not ended, until the time is up."""
        try:
            self._run_items()
        except (KeyboardInterrupt, Exception):
            if self.clock.left > 0:
                raise
            # Libraries turn an interrupt into errors of their own.
            self.is_over = True
            print("the time is up: the same command goes on from here")

    def _run_items(self) -> None:
        done = {entry["item"] for entry in self.log.entries if entry["status"] == "done"}
        for name, work in self._items():
            if name in done:
                continue
            started = time.monotonic()
            _say(f"{name} ({self.clock.left:.0f} s left)")
            try:
                result, status = work(), "done"
            except Exception as error:
                if self.clock.left <= 0:
                    raise
                result, status = self._failed(name, error), "failed"
            self._write(name, status, time.monotonic() - started, result)
            if isinstance(result, dict) and not result.get("passed", True):
                raise UserError(
                    f"{name}: wrong by {result['value_error']:.1e}, nothing more is run"
                )

    def _failed(self, name: str, error: Exception) -> str:
        """Note what failed; one item must not cost the others the card."""
        text = f"{type(error).__name__}: {error}"
        self.problems.append(f"{name}: {text}")
        _say(f"failed: {self.problems[-1]}")
        return text

    def require_all_done(self) -> None:
        """Raise UserError that names what failed; the same command tries it again."""
        if not self.is_over:
            print(f"{len(self.log.entries)} items have ended; none is left of {self.datasets}")
        if self.problems:
            raise UserError("; ".join(self.problems))

    def archive(self) -> None:
        """All of it in files that travel, most wanted first."""
        files = [p for p in self.out.rglob("*") if p.is_file() and p.parent.name != ARCHIVES]
        files = [p for p in files if p.name not in (".lock", "state.previous.safetensors")]
        left_out = write_archives(self.out, sorted(files, key=_rank), self.out / ARCHIVES)
        for path in left_out:
            _say(f"{path} is too large for an archive and stays here")

    def _write(self, name: str, status: str, seconds: float, result: Any) -> None:
        ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = {"item": name, "status": status, "seconds": round(seconds, 1), "ended": ended}
        self.log.append({**entry, "result": result, **provenance()})
        self.archive()

    def _items(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        size, backends = self.size, self.size.backends
        for shape in size.shapes:
            for dtype in ("float32", "float64"):
                yield (
                    f"check {_text(shape)} {dtype}",
                    lambda s=shape, d=dtype: check(size.architecture, s, d, self.options.execution),
                )
        for shape in size.shapes:
            for backend in backends:
                yield (
                    f"benchmark {_text(shape)} {backend}",
                    lambda s=shape, b=backend: compare(
                        size.architecture, s, (b,), "float32", True, size.pairs
                    ),
                )
        learning = list(self._cells())
        for cell in learning:
            yield str(cell), lambda c=cell: self._run_cell(table1.SCRIPT, c)
        for cell in self._transfer_cells(learning):
            name = f"{cell} on {cell.config.support['name']}"
            yield name, lambda c=cell: self._run_cell(table2.SCRIPT, c)

    def _cells(self) -> Iterator[Cell]:
        """Label Solve, KIP, and methods of this project that the paper's table compares."""
        for dataset in self.datasets:
            yield from (self._cell("LS", dataset, ipc) for ipc in self._sizes((1, 10, 50)))
        for ipc in self._sizes((1, 10)):
            for dataset in self.datasets:
                yield from (self._cell(method, dataset, ipc) for method in ("KIP (l)", "KIP"))
        has_torch = importlib.util.find_spec("torch") is not None
        for method in ("DC", "DSA") if has_torch else ():
            for ipc in self._sizes((1, 10)):
                yield from (self._cell(method, dataset, ipc) for dataset in self.datasets)

    def _sizes(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        return wanted[:1] if self.size.preset == "smoke" else wanted

    def _cell(self, method: str, dataset: str, ipc: int) -> Cell:
        zca = _has_color(dataset, self.data_dir)
        return distilling_cell(method, dataset, ipc, KernelSpec("ConvNet"), self.budget, zca=zca)

    def _run_cell(self, script: str, cell: Cell) -> dict[str, Any]:
        run_cells(script, [cell], (0,), self.options).require_none()
        row = finished(self._rows(script), cell.config_hash, 0)
        return {name: row[name] for name in ("test_accuracy", "test_mse", "step", "seconds")}

    def _rows(self, script: str) -> list[dict[str, Any]]:
        return read_rows(results_path(self.out, script), smoke=self.options.is_smoke)

    def _transfer_cells(self, learning: list[Cell]) -> list[Cell]:
        """Finite networks on every set that this session has learned, after exporting it."""
        checkpoints, rows = self.out / "checkpoints", self._rows(table1.SCRIPT)
        wanted = {
            cell.config_hash
            for cell in learning
            if is_exported(cell)
            and finished(rows, cell.config_hash, 0) is not None
            and not (checkpoints / cell.set_name / catalogue.RECORD).exists()
        }
        if wanted:
            smoke = self.options.is_smoke
            try:
                export(self.out, checkpoints, (0,), 100, self.data_dir, wanted, smoke)
            except UserError as error:
                self._failed("export", error)
        if not checkpoints.is_dir():
            return []
        sets = SetSource(checkpoints=checkpoints).convolutional_sets()
        return table2.cells(table2.PRESETS[self.size.preset], sets)

    def _at_hand(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """`wanted`, or the data sets at hand; but in a rehearsal those of the paper alone."""
        if self.data_dir is None:
            raise UserError("no data sets: give --data-dir, or set KIP_DATA_DIR")
        for name, count in incomplete_names(self.data_dir).items():
            _say(f"{name}: {count} parts are in {self.data_dir}, it is left out for now")
        found = local.complete(self.data_dir)
        if missing := set(wanted) - set(found):
            raise UserError(f"{min(missing)} is not whole in {self.data_dir}: there are {found}")
        if wanted:
            return wanted
        known = [name for name in registry.DATASETS if name in found]
        return tuple(found if self.size.preset == "smoke" else known)


def _pack(folder: Path, data_dir: Path | None, datasets: tuple[str, ...]) -> None:
    if unknown := set(datasets) - set(dataset_names(data_dir)):
        raise UserError(f"unknown data set {min(unknown)!r}: choose {dataset_names(data_dir)}")
    require_writable(folder)
    for name in datasets or ("mnist", "fashion_mnist", "cifar10"):
        for path in write_parts(load_dataset(name, data_dir), folder):
            print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


@functools.cache
def _has_color(dataset: str, data_dir: Path | None) -> bool:
    return load_dataset(dataset, data_dir).image_shape[-1] == 3


def _rank(path: Path) -> tuple[int, str]:
    """Rows first, then sets and states of runs, then what only draws curves."""
    order = 0 if path.suffix == ".jsonl" else 1 if path.name.startswith("state.") else 2
    return 3 if path.suffix == ".png" else order, str(path)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(main)
