"""Result rows: one JSON object a line, appended and never rewritten.

A run writes one `done` row per configuration and seed; metrics along the way go elsewhere. Tables
are rendered from these rows alone (`paper_repro.core.tables.cells`).
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.store.row_schema import PRESETS, ROW_FIELDS, config_hash, plain, problem_with

__all__ = [
    "PRESETS",
    "ROW_FIELDS",
    "append_row",
    "config_hash",
    "finished",
    "read_rows",
    "results_path",
    "rows_for",
    "run_directory",
]

Row = dict[str, Any]


def append_row(path: Path | str, row: Mapping[str, Any]) -> Row:
    """Append `row` durably and return the row that the file holds for it.

    Where a done row of the same `config_hash` and `seed` is there already, a second done row is
    not written and the first is returned, so that repeating a command is harmless; likewise a
    failed row where the last one of that run failed for the same reason. What a crash
    left of an unfinished last line is removed first. Concurrent writers wait for each other.

    Raises:
      UserError: the row lacks a field or one has the wrong type or range (`ROW_FIELDS`), or the
        file holds a corrupted line.
      OSError: the file cannot be written; what it held before stays.
    """
    path = Path(path)
    line, row = _encode(path, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as descriptor:
        size = _drop_unfinished_line(path, descriptor)
        before = _same_outcome(_all_rows(path), row)
        if before is not None:
            return before
        try:
            _write_all(descriptor, line)
            os.fsync(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            error.filename = str(path)
            raise
    return row


def results_path(out: Path, script: str) -> Path:
    """The rows of a script in a directory of results."""
    return out / f"{script}.jsonl"


def run_directory(out: Path, config_hash: str, seed: int) -> Path:
    """Checkpoints and metrics of one run; shared by all tables that have its cell."""
    return out / "runs" / f"{config_hash}-seed{seed}"


def rows_for(script: str, out: Path, *, smoke: bool = False) -> list[Row]:
    """The rows of a script, then those of the other scripts in `out`: tables share cells.

    Args:
      script: the script's name.
      out: a directory of results.
      smoke: whether the rows of smoke tests count; they fill no other table.

    Raises:
      UserError: a file holds a corrupted line.
    """
    own = results_path(out, script)
    others = sorted(path for path in out.glob("*.jsonl") if path != own)
    return [row for path in (own, *others) for row in read_rows(path, smoke=smoke)]


def read_rows(path: Path | str, *, smoke: bool = False) -> list[Row]:
    """All rows of a file in the order they were written; none when it does not exist.

    The rows of smoke tests are left out, except with `smoke`.

    A half-written last line, as a crash leaves it, is skipped with a `RuntimeWarning`.

    Raises:
      UserError: any other line is not a result row; names the file and the line.
    """
    rows = _all_rows(Path(path))
    return rows if smoke else [row for row in rows if row["preset"] != "smoke"]


def _all_rows(path: Path) -> list[Row]:
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    unfinished = lines.pop()
    rows = [_decode(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if unfinished.strip():
        with contextlib.suppress(UserError):
            # Only the newline is missing: the row is whole.
            return [*rows, _decode(path, len(lines) + 1, unfinished)]
        warnings.warn(
            f"{path}: ignored a half-written last line (line {len(lines) + 1})",
            RuntimeWarning,
            stacklevel=3,
        )
    return rows


def finished(rows: Iterable[Mapping[str, Any]], config_hash: str, seed: int) -> Row | None:
    """The done row of this configuration and seed, or None."""
    for row in rows:
        if (row["status"], row["config_hash"], row["seed"]) == ("done", config_hash, seed):
            return dict(row)
    return None


def _same_outcome(rows: Iterable[Row], row: Row) -> Row | None:
    """What already says how this run ended."""
    if row["status"] == "done":
        return finished(rows, row["config_hash"], row["seed"])
    if row["status"] != "failed" or "reason" not in row:
        return None
    run, outcome = (row["config_hash"], row["seed"]), ("failed", row["reason"])
    last = [r for r in rows if (r["config_hash"], r["seed"]) == run][-1:]
    return next((r for r in last if (r["status"], r.get("reason")) == outcome), None)


def _encode(path: Path, row: Mapping[str, Any]) -> tuple[bytes, Row]:
    """The line, and the row as reading it back gives it."""
    try:
        text = json.dumps(dict(row), allow_nan=False, default=plain, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot write a result row to {path}: {error}") from error
    plain_row = json.loads(text)
    problem = problem_with(plain_row)
    if problem:
        raise UserError(f"cannot write a result row to {path}: {problem}")
    return text.encode() + b"\n", plain_row


def _decode(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: not valid JSON ({error}); restore the line from version "
            "control or delete it, and the run that wrote it is repeated"
        ) from error
    problem = problem_with(row)
    if problem:
        raise UserError(
            f"{path}, line {number}: not a result row: {problem}; restore the line from version "
            "control or delete it"
        )
    return row


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        # File systems and systems without advisory locks have one writer or take the risk.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _drop_unfinished_line(path: Path, descriptor: int) -> int:
    """End the file with a newline; returns its size. A last line that is a whole row stays."""
    content = path.read_bytes()
    if not content or content.endswith(b"\n"):
        return len(content)
    keep = content.rfind(b"\n") + 1
    try:
        _decode(path, 0, content[keep:])
    except UserError:
        os.ftruncate(descriptor, keep)
        return keep
    _write_all(descriptor, b"\n")
    return len(content) + 1


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
