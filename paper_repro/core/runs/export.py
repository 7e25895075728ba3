"""From finished runs to the `checkpoints/` directory: supports, series, records, pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core import methods
from paper_repro.core.data import Dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.command import command
from paper_repro.core.runs.gallery import draw_support
from paper_repro.core.runs.learning_curves import draw_learning_curves
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.sets import catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.record import FORMAT, FROM_ROW, METRICS, as_json, complete
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import (
    atomic_folder,
    exclusive,
    require_writable,
    restore_folders,
    sha256_of_file,
    write_atomic,
)
from paper_repro.core.store.row_schema import PRESETS
from paper_repro.core.store.rows import read_rows, run_directory

_STAGED = ".export-"


def export(
    results: Path,
    out: Path,
    seeds: Sequence[int],
    series_limit: int,
    data_dir: Path | None,
    wanted: Collection[str] | None = None,
    smoke: bool = False,
) -> list[LearnedSet]:
    """Write the learned sets of the runs under `results` into `out`, and its index.

    Args:
      results: `<script>.jsonl` files with run directories in `runs/`.
      out: the checkpoints directory. Sets that are there already stay, unless a run of the same
        or of a larger budget is at hand.
      seeds: the seeds in order of preference; of each set the first with a finished run is taken.
      series_limit: supports of up to this many images keep their official steps.
      data_dir: see `load_dataset`; the transform is needed for the pictures.
      wanted: configuration hashes of the runs to export; None for all.
      smoke: whether the runs of smoke tests count.

    Returns:
      The sets that were written.

    Raises:
      UserError: no finished run is at hand, or a file is damaged; sets written before stay whole.
    """
    require_writable(out)
    with exclusive(out):
        restore_folders(out, _STAGED)
        written = [
            _export(row, results, out, series_limit, data_dir)
            for row in _best(results, seeds, wanted, smoke)
            if _is_new(row, out)
        ]
        names = sorted(path.parent.name for path in out.glob(f"[!.]*/{catalogue.RECORD}"))
        if not names:
            raise UserError(
                "no finished run of a method that learns, of seed "
                f"{', '.join(map(str, seeds))}, with its files in {results / 'runs'} (smoke runs "
                "do not count): run a table there first, such as `python -m "
                f"paper_repro.table1_comparison --datasets mnist --ipc 1 --out {results}`"
            )
        write_atomic(out / catalogue.INDEX, as_json({"format": FORMAT, "sets": names}))
        draw_learning_curves([catalogue.read_set(out, name) for name in names], out / "curves.png")
    return written


def _best(
    results: Path, seeds: Sequence[int], wanted: Collection[str] | None, smoke: bool
) -> list[dict[str, Any]]:
    """The row of the largest budget for each set, of those whose run directory is at hand."""
    best: dict[str, dict[str, Any]] = {}

    def rank(row: Mapping[str, Any]) -> tuple[int, int, int]:
        return *_rank(row), -seeds.index(row["seed"])

    for path in sorted(results.glob("*.jsonl")):
        for row in read_rows(path, smoke=smoke):
            if row["status"] != "done" or row["seed"] not in seeds:
                continue
            if wanted is not None and row["config_hash"] not in wanted:
                continue
            if not methods.is_known(row["config"]):
                continue  # of a method that this version does not have
            cell = cell_of(row["config"])
            if not is_exported(cell) or not _file_of(cell, row, results).exists():
                continue
            name = cell.set_name
            if name not in best or rank(row) > rank(best[name]):
                best[name] = row
    return [best[name] for name in sorted(best)]


def is_exported(cell: Cell) -> bool:
    """Whether a cell's set is exported. A variant of a run is not: it would have the same name.

    The names of sets say nothing of options, and a method of another name (as the first steps of
    a run have) is not the method.
    """
    method = cell.method_object
    if not method.is_exported or cell.method not in method.variants or cell.kernel.is_distance:
        return False
    plain = method.recorded(method.config(cell.method, cell.images_per_class))
    recorded = method.recorded(cell.config)
    return cell.learning_cell == cell and all(
        recorded.get(name) == plain.get(name) for name in method.asked_fields(cell.method)
    )


def _rank(record: Mapping[str, Any]) -> tuple[int, int]:
    cell = cell_of(record["config"])
    return cell.method_object.work(cell.config), PRESETS.index(record["preset"])


def _is_new(row: Mapping[str, Any], out: Path) -> bool:
    name = cell_of(row["config"]).set_name
    if not (out / name / catalogue.RECORD).exists():
        return True
    return _rank(row) >= _rank(catalogue.read_set(out, name).record)


def _file_of(cell: Cell, row: Mapping[str, Any], results: Path) -> Path:
    directory = run_directory(results, row["config_hash"], row["seed"])
    return cell.method_object.final(directory, row["step"])


def _export(
    row: Mapping[str, Any], results: Path, out: Path, series_limit: int, data_dir: Path | None
) -> LearnedSet:
    """Write one set into a folder beside its place, then move it there whole."""
    cell = cell_of(row["config"])
    name = cell.set_name
    data = prepared_data(cell, data_dir, Execution())
    require_recorded(name, row, data.dataset, data.transform)
    kept = cell.method_object.series(_file_of(cell, row, results).parent, row["step"])
    with atomic_folder(out / name, _STAGED) as staged:
        tensors = checkpoint.load(_file_of(cell, row, results)).tensors
        _save(staged / catalogue.SUPPORT, tensors, row, row["step"])
        series = []
        for step, path, metrics in kept if row["support_size"] <= series_limit else ():
            place = staged / catalogue.series_file(step)
            _save(place, checkpoint.load(path).tensors, row, step)
            entry = {"step": step, "sha256": sha256_of_file(place), "metrics": dict(metrics)}
            series.append(entry)
        digest = sha256_of_file(staged / catalogue.SUPPORT)
        record = _record(row, cell, data.dataset, {"series": series, "file_sha256": digest})
        write_atomic(staged / catalogue.RECORD, as_json(record))
        natural = checkpoint.load(kept[0].path).tensors["images"] if kept else None
        learned = LearnedSet.of(tensors["images"], tensors["labels"], {"step": row["step"]})
        draw_support(learned, natural, cell, data.transform, data.dataset, staged)
    return catalogue.read_set(out, name)


def _save(path: Path, tensors: Mapping[str, np.ndarray], row: Mapping[str, Any], step) -> None:
    arrays = {key: np.asarray(tensors[key], np.float32) for key in ("images", "labels")}
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"config_hash": row["config_hash"], "seed": str(row["seed"]), "step": str(step)}
    checkpoint.save(path, arrays, metadata)


def _record(
    row: Mapping[str, Any], cell: Cell, dataset: Dataset, files: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a set from the row of its run; `files` is what its files add."""
    return complete(
        {
            **{name: row[name] for name in FROM_ROW},
            "name": cell.set_name,
            "title": dataset.title,
            "class_names": list(dataset.class_names),
            "n_classes": dataset.n_classes,
            "diag_reg": cell.config.diag_reg,
            "metrics": {name: row[name] for name in METRICS},
            "command": command(row, cell),
            **files,
        }
    )
