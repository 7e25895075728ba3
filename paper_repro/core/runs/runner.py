"""Runs the cells of a table and appends their rows; the same command resumes."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.data.unavailable import DatasetUnavailable
from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.memory import keep_freed_memory
from paper_repro.core.runs.presets import Preset
from paper_repro.core.runs.progress import Progress
from paper_repro.core.runs.undone import Undone
from paper_repro.core.store.files import exclusive, require_writable, write_atomic
from paper_repro.core.store.provenance import peak_mb, provenance
from paper_repro.core.store.rows import append_row, finished, results_path, rows_for
from paper_repro.core.tables.cells import ResultTable, TableCell


def run_directory(out: Path, run: Cell | Mapping[str, Any], seed: int) -> Path:
    """Checkpoints and metrics of one run, by its cell or row; shared by all tables that have it."""
    config_hash = run.config_hash if isinstance(run, Cell) else run["config_hash"]
    return out / "runs" / f"{config_hash}-seed{seed}"


def run_table(
    script: str,
    cells: Sequence[Cell],
    seeds: Sequence[int],
    budget: Preset,
    out: Path,
    data_dir: Path | None,
    table: Callable[..., ResultTable],
    shown: Callable[[TableCell], bool] = lambda cell: True,
    beside: Path | None = None,
    draw_curves: Callable[..., Sequence[Path]] | None = None,
    may_diverge: bool = False,
    before: Undone | None = None,
) -> None:
    """What every table script does: run the cells, print the table, write it and its pictures.

    Beside the rows (`<script>.jsonl`) it writes `<script>.md`, `<script>.png` and, where KIP
    runs have finished, `pictures/`.

    Args:
      script: name of the table.
      cells: to run.
      seeds: of the runs; none given means those of the budget.
      budget: the preset that made the cells.
      out: directory of rows and runs.
      data_dir: see `load_dataset`.
      table: the table as far as rows fill it.
      shown: lines that are printed; the files hold them all.
      beside: directory of other rows; what the shown lines are there is printed below.
      draw_curves: draws curves of the rows into `out/pictures` (`registry.TableModule`).
      may_diverge: a run that diverged is an outcome of this table, and no error.
      before: what earlier calls of `run_cells` for the same table left undone.

    Raises:
      UserError: bad input; or, once everything is printed and written, that cells were left out or
        runs diverged.
    """
    from paper_repro.core.runs.gallery import draw
    from paper_repro.core.tables.render.markdown import render_markdown
    from paper_repro.core.tables.render.png import render_png
    from paper_repro.core.tables.render.terminal import print_table

    if any(seed < 0 for seed in seeds):
        raise UserError(f"seeds must not be negative, got {min(seeds)}")
    if beside is not None and not beside.is_dir():
        raise UserError(
            f"--beside {beside} is not a directory: name one with rows, or leave it out"
        )
    used = tuple(seeds) or tuple(range(budget.seeds))
    if not cells:
        raise UserError("no cell is chosen: name at least one value for every option that is given")
    undone = Undone() if before is None else before
    run_cells(script, cells, used, budget.name, out, data_dir, undone)
    if set(undone.missing) >= {cell.dataset for cell in cells}:
        raise next(iter(undone.missing.values()))
    rows, smoke = rows_for(script, out), budget.name == "smoke"
    result = table(rows, include_smoke=smoke)
    draw(script, cells, rows, out, data_dir, used[0])
    write_atomic(out / f"{script}.md", render_markdown(result))
    render_png(result, out / f"{script}.png")
    print_table(result.restricted(shown))
    if beside is not None:
        other = table(rows_for(script, beside)).restricted(
            lambda cell: shown(cell) and cell.ours is not None
        )
        if other.cells:
            title = f"The same lines from the rows in {beside}/"
            print_table(
                dataclasses.replace(other, title=title, caption="", notes=(), appendices=())
            )
    for path in draw_curves(rows, out, include_smoke=smoke) if draw_curves is not None else ():
        print(f"wrote {path}")
    if may_diverge:
        undone.diverged.clear()
    undone.require_none()


def run_cells(
    table: str,
    cells: Sequence[Cell],
    seeds: Iterable[int],
    preset: str,
    out: Path,
    data_dir: Path | None,
    undone: Undone | None = None,
) -> Undone:
    """Run what has no finished row yet, in this table or in another of the directory.

    A run that diverges leaves a `failed` row and the next one starts; one that is interrupted
    leaves an `interrupted` row, and the same command goes on from its last checkpoint.

    Args:
      table: whose rows these are.
      cells: to run.
      seeds: of each.
      preset: by name, for the rows.
      out: directory of rows and runs.
      data_dir: see `load_dataset`.
      undone: of earlier calls; what this one leaves undone is added.

    Returns:
      What has no finished row.

    Raises:
      UserError: bad input, before or at the run that met it; finished rows stay.
    """
    keep_freed_memory()
    require_writable(out)
    path = results_path(out, table)
    rows = rows_for(table, out)
    undone = Undone() if undone is None else undone
    # Seed by seed: a command that is stopped early leaves every cell with as many draws.
    runs = [(cell, seed) for seed in seeds for cell in cells]
    todo = [(c, s) for c, s in runs if finished(rows, c.config_hash, s) is None]
    with Progress(len(runs), len(runs) - len(todo)) as progress:
        for cell, seed in todo:
            if cell.dataset in undone.missing:
                continue
            progress.start(f"{cell} seed={seed}")
            try:
                row = _run(table, cell, seed, preset, out, data_dir, path, progress)
            except DatasetUnavailable as error:
                undone.missing[cell.dataset] = error
                continue
            if row["status"] == "failed":
                undone.diverged.append(f"{cell} seed={seed}")
            progress.finish(row)
    return undone


def _run(table, cell, seed, preset, out, data_dir, path, progress) -> Mapping[str, Any]:
    from paper_repro.core.krr import Unsolvable
    from paper_repro.core.methods.kip.state import Diverged
    from paper_repro.core.network.grid import forget
    from paper_repro.core.runs.context import context
    from paper_repro.core.runs.procedures import PROCEDURES

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.monotonic()
    shared = context(cell, data_dir)
    row = {
        "table": table,
        "dataset": cell.dataset,
        "images_per_class": cell.images_per_class,
        "method": cell.method,
        "algorithm": cell.algorithm,
        "architecture": cell.architecture,
        "kernel": cell.kernel,
        "zca": cell.zca,
        "learned_labels": cell.learned_labels,
        "augmentation": cell.augmentation is not None,
        "preset": preset,
        "seed": seed,
        "step": None,
        "test_accuracy": None,
        "test_mse": None,
        "n_test": None,
        "budget": {},
        "config": cell.config,
        "config_hash": cell.config_hash,
        **provenance(),
        "data_sha256": shared.dataset.data_sha256,
        "transform_sha256": shared.transform_sha256,
        "started": started,
        "support_size": cell.images_per_class * shared.dataset.n_classes,
    }

    def close(status: str, **fields: Any) -> Mapping[str, Any]:
        seconds = fields.pop("seconds", None) or time.monotonic() - clock
        done = {
            **row,
            "status": status,
            "seconds": round(seconds, 1),
            "peak_mb": peak_mb(),
            **fields,
        }
        return append_row(path, done)

    def directory_of(cell: Cell) -> Path:
        return run_directory(out, cell, seed)

    try:
        with exclusive(directory_of(cell)):
            outcome = PROCEDURES[cell.procedure](cell, shared, seed, directory_of, progress.step)
    except (Diverged, Unsolvable) as error:
        return close("failed", reason=str(error), **getattr(error, "extra", {}))
    except KeyboardInterrupt:
        close("interrupted")
        raise
    except UserError as error:
        raise UserError(f"{cell} seed={seed}: {error}") from error
    row = close(
        "done",
        test_accuracy=outcome.test_accuracy,
        test_mse=outcome.test_mse,
        n_test=outcome.n_test,
        step=outcome.step,
        seconds=outcome.seconds,
        budget=outcome.budget,
        **outcome.extra,
    )
    forget(directory_of(cell))
    return row
