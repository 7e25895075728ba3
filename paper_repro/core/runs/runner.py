"""Runs the cells of a table and appends their rows; the same command resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.errors import DatasetUnavailable, Diverged, UserError, WorkersGone
from paper_repro.core.krr import Unsolvable
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.pictures.table import render_png, render_wide_png
from paper_repro.core.runs import gallery
from paper_repro.core.runs.cell import Cell, DataCut
from paper_repro.core.runs.options import NetworkOptions
from paper_repro.core.runs.prepared_data import cut_data, prepared_data
from paper_repro.core.runs.presets import Preset
from paper_repro.core.runs.progress import ProgressBars
from paper_repro.core.runs.scorers import Scoring
from paper_repro.core.store.files import exclusive, require_writable, write_atomic
from paper_repro.core.store.provenance import hardware, peak_mb, provenance
from paper_repro.core.store.rows import (
    append_row,
    finished,
    results_path,
    rows_for,
    run_directory,
)
from paper_repro.core.tables.cells import ResultTable, TableCell
from paper_repro.core.tables.render.markdown import render_markdown
from paper_repro.core.tables.render.terminal import print_table, print_wide

if TYPE_CHECKING:
    from paper_repro.core.network import grid
else:
    grid = lazy.module("paper_repro.core.network.grid")

Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Table:
    """What a script makes of rows.

    Attributes:
      script: the script's name, and that of its files.
      table: the table as far as rows fill it.
      draw: draws curves of the rows into `out/pictures` and returns their paths, or None.
      may_diverge: a run that diverged is an outcome of this table, and no error.
    """

    script: str
    table: Callable[[Rows], ResultTable]
    draw: Callable[[Rows, Path], Sequence[Path]] | None = None
    may_diverge: bool = False


@dataclasses.dataclass
class Unfinished:
    """The runs without a finished row.

    Attributes:
      missing: the data sets that no source has, by name; their cells were not run.
      diverged: the runs that diverged, in words.
    """

    missing: dict[str, DatasetUnavailable] = dataclasses.field(default_factory=dict)
    diverged: list[str] = dataclasses.field(default_factory=list)

    def require_none(self) -> None:
        """Raise UserError that names them, if there are any."""
        problems = []
        if self.missing:
            reasons = "; ".join(str(error) for error in self.missing.values())
            problems.append(f"the cells of {', '.join(self.missing)} were left out: {reasons}")
        if self.diverged:
            n = len(self.diverged)
            runs = f"{n} run{'s' if n > 1 else ''} diverged"
            problems.append(f"{runs}: {', '.join(self.diverged)}; their rows give the reasons")
        if problems:
            raise UserError("; ".join(problems))


def run_table(
    of: Table,
    cells: Sequence[Cell],
    budget: Preset,
    options: NetworkOptions,
    *,
    shown: Callable[[TableCell], bool] | None = None,
    beside: Path | None = None,
    before: Unfinished | None = None,
) -> None:
    """What every table script does: run the cells, print the table, write it and its pictures.

    Beside the rows (`<script>.jsonl`) it writes `<script>.md`, `<script>.png` and, where KIP
    runs have finished, `pictures/`.

    Args:
      of: the table.
      cells: what is run.
      budget: the preset that made the cells.
      options: how they are run.
      shown: lines that are printed, by default those of the data sets and sizes of `cells`; the
        files hold them all.
      beside: directory of other rows; what the shown lines are there is printed below.
      before: what earlier calls of `run_cells` for the same table left unfinished.

    Raises:
      UserError: bad input; or, once everything is printed and written, that cells were left out or
        runs diverged.
    """
    if beside is not None and not beside.is_dir():
        raise UserError(
            f"--beside {beside} is not a directory: name one with rows, or leave it out"
        )
    if not cells:
        raise UserError("no cell has all that is asked for: relax an option, or give it a value")
    shown = _sizes_of(cells) if shown is None else shown
    out, used = options.out, options.seeds_of(budget)
    unfinished = run_cells(of.script, cells, used, options, before)
    if set(unfinished.missing) >= {cell.dataset for cell in cells}:
        raise next(iter(unfinished.missing.values()))
    rows = rows_for(of.script, out, smoke=options.is_smoke)
    result = of.table(rows)
    gallery.draw(of.script, cells, rows, options, used[0])
    write_atomic(out / f"{of.script}.md", render_markdown(result))
    if result.wide is None:
        render_png(result, out / f"{of.script}.png")
    else:
        render_wide_png(result, out / f"{of.script}.png")
    kept = result.restricted(shown)
    print_wide(kept)
    print_table(_run_lines(kept) if result.wide is not None else kept)
    if beside is not None:
        other = of.table(rows_for(of.script, beside)).restricted(
            lambda cell: shown(cell) and cell.ours is not None
        )
        if other.cells:
            title = f"The same lines from the rows in {beside}/"
            print_table(
                dataclasses.replace(other, title=title, caption="", notes=(), appendices=())
            )
    for path in () if of.draw is None else of.draw(rows, out):
        print(f"wrote {path}")
    if of.may_diverge:
        unfinished.diverged.clear()
    unfinished.require_none()


def _sizes_of(cells: Sequence[Cell]) -> Callable[[TableCell], bool]:
    """Whether a line is of a data set and size of `cells`, as far as it names them."""
    asked = [
        {"Data set": registry.title(c.dataset), "Images per class": str(c.images_per_class)}
        for c in cells
    ]
    names = ("Data set", "Images per class")

    def shown(line: TableCell) -> bool:
        named = {name: line.label[name] for name in names if name in line.label}
        return any(named.items() <= size.items() for size in asked)

    return shown


def _run_lines(table: ResultTable) -> ResultTable:
    """The lines of a table that were run; all of them where none was."""
    return table.restricted(lambda cell: cell.ours is not None) if _has_runs(table) else table


def _has_runs(table: ResultTable) -> bool:
    return any(cell.ours is not None for cell in table.cells)


def run_cells(
    table: str,
    cells: Sequence[Cell],
    seeds: Iterable[int],
    options: NetworkOptions,
    before: Unfinished | None = None,
) -> Unfinished:
    """Run what has no finished row yet, in this table or in another of the directory.

    A run that diverges leaves a `failed` row and the next one starts; one that is interrupted
    leaves an `interrupted` row, and the same command goes on from its last checkpoint.

    Args:
      table: name of the table whose rows these are.
      cells: what is run.
      seeds: the seeds of each cell; a cell that no seed changes has the first alone.
      options: how they are run.
      before: what earlier calls left unfinished; what this one does is added.

    Returns:
      What has no finished row.

    Raises:
      UserError: bad input, before or at the run that met it; finished rows stay.
    """
    keep_freed_memory()
    require_writable(options.out)
    rows = rows_for(table, options.out, smoke=True)
    _require_same_images(cells, rows, options)
    unfinished = Unfinished() if before is None else before
    # Seed by seed: a command that is stopped early leaves every cell with as many draws.
    runs = {
        (cell.config_hash, seed): (cell, seed)
        for number, seed in enumerate(seeds)
        for cell in cells
        if number == 0 or cell.is_seeded
    }.values()
    todo = [(c, s) for c, s in runs if not _is_done(c, s, rows, options)]
    done, status = len(runs) - len(todo), options.execution.status
    with _resumable(), ProgressBars(len(runs), done, status=status) as progress:
        for cell, seed in todo:
            if cell.dataset in unfinished.missing:
                continue
            progress.start(f"{cell} seed={seed}")
            try:
                row = _run(table, cell, seed, options, progress)
            except DatasetUnavailable as error:
                unfinished.missing[cell.dataset] = error
                continue
            if row["status"] == "failed":
                unfinished.diverged.append(f"{cell} seed={seed}")
            progress.finish(row)
    return unfinished


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = "what was finished is kept; the same command goes on from there"
        raise KeyboardInterrupt(kept) from stop


def _require_same_images(cells: Sequence[Cell], rows: Rows, options: NetworkOptions) -> None:
    """Rows are found by what was run, which names a data set and not its images.

    Those of official data sets are the same everywhere, byte for byte.
    """
    used = dict.fromkeys((c.dataset, c.cut) for c in cells if registry.find(c.dataset) is None)
    for name, cut in used:
        with contextlib.suppress(DatasetUnavailable):
            digest = cut_data(name, cut, options.data_dir).data_sha256
            for row in rows:
                is_of_it = row["dataset"] == name and DataCut.from_recorded(row["config"]) == cut
                if is_of_it and row["data_sha256"] != digest:
                    raise UserError(
                        f"{options.out} holds runs on other images called {name}: choose another "
                        "--out, or another name for these"
                    )


def _is_done(cell: Cell, seed: int, rows: Rows, options: NetworkOptions) -> bool:
    row = finished(rows, cell.config_hash, seed)
    if row is None:
        return False
    dtype = row.get("execution", {}).get("dtype", "float32")
    if cell.evaluates_kernel and dtype != options.execution.dtype:
        raise UserError(
            f"{options.out} holds {cell} seed={seed} computed in {dtype}: choose another --out for "
            f"{options.execution.dtype}"
        )
    return True


def _run(
    table: str, cell: Cell, seed: int, options: NetworkOptions, progress: ProgressBars
) -> Mapping[str, Any]:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.monotonic()
    data = prepared_data(cell, options.data_dir, options.execution)
    row = {
        "table": table,
        **cell.row_fields,
        "preset": options.preset,
        "seed": seed,
        "step": None,
        "test_accuracy": None,
        "test_mse": None,
        "n_test": None,
        "budget": {},
        "config": cell.recorded,
        "config_hash": cell.config_hash,
        **provenance(),
        "data_sha256": data.dataset.data_sha256,
        "transform_sha256": data.transform_sha256,
        "started": started,
        "support_size": cell.images_per_class * data.dataset.n_classes,
        **({"execution": options.execution.recorded} if cell.evaluates_kernel else {}),
    }

    def close(status: str, **fields: Any) -> Mapping[str, Any]:
        seconds = fields.pop("seconds", None) or time.monotonic() - clock
        done = {
            **row,
            "hardware": hardware(),
            "status": status,
            "seconds": round(seconds, 1),
            "peak_mb": peak_mb(),
            **fields,
        }
        return append_row(results_path(options.out, table), done)

    directory = run_directory(options.out, cell.config_hash, seed)
    learning = run_directory(options.out, cell.learning_cell.config_hash, seed)
    try:
        with contextlib.ExitStack() as stack:
            # Where a network is trained on the set of another cell, a table of that cell may run.
            for place in dict.fromkeys((learning, directory)):
                stack.enter_context(exclusive(place))
            problem, method = data.problem(cell), cell.method_object
            if (first := method.first_part(cell.config)) is not None:
                of_first = dataclasses.replace(cell.learning_cell, config=first).config_hash
                earlier = run_directory(options.out, of_first, seed)
                method.take_over(problem, cell.config, seed, earlier, learning)
            learned = method.run(problem, cell.config, seed, learning, progress.step)
            ridge = cell.config.diag_reg
            scoring = Scoring(cell.kernel, ridge, data, seed, directory, progress.step)
            fields = cell.scorer.score(learned, scoring)
    except (Diverged, Unsolvable) as error:
        return close("failed", reason=str(error), **getattr(error, "extra", {}))
    except (KeyboardInterrupt, WorkersGone):
        close("interrupted")
        raise
    except UserError as error:
        raise UserError(f"{cell} seed={seed}: {error}") from error
    row = close("done", **fields)
    grid.forget(directory)
    return row
