"""A table as the paper prints it: a line per data set and size, a column per method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paper_repro.core.tables.cells import ResultTable, TableCell
from paper_repro.core.tables.verdict import Verdict


class WideTable(NamedTuple):
    """A table in that shape.

    Attributes:
      names: those of the leading columns, then the headings.
      lines: the leading texts of each line with its cells, None where there is none.
    """

    names: Sequence[str]
    lines: Sequence[tuple[tuple[str, ...], Sequence[TableCell | None]]]


class Counted(NamedTuple):
    """How many cells of a table there are, were run, and match.

    Attributes:
      cells: with a published figure.
      run: of them, those with a result of ours.
      matching: of them, those that match.
    """

    cells: int
    run: int
    matching: int


def widened(table: ResultTable) -> WideTable:
    """`table` in the shape that its `wide` asks for; lines and columns in order of appearance.

    Raises:
      ValueError: two cells of the table fall on one place.
    """
    how = table.wide
    columns = list(dict.fromkeys(cell.label[how.column] for cell in table.cells))
    lines: dict[tuple[str, ...], list[TableCell | None]] = {}
    for cell in table.cells:
        key = tuple(cell.label[name] for name in how.rows)
        line = lines.setdefault(key, [None] * len(columns))
        place = columns.index(cell.label[how.column])
        if line[place] is not None:
            raise ValueError(f"two cells at {key}, {columns[place]}")
        line[place] = cell
    names = [*how.rows, *(how.heading.format(column) for column in columns)]
    return WideTable(names, list(lines.items()))


def counted(table: ResultTable) -> Counted:
    """The cells of a table that this project can run, its appendices left out."""
    cells = [
        cell
        for cell in table.cells
        if cell.published is not None and cell.verdict != Verdict.PUBLISHED_ONLY
    ]
    run = [cell for cell in cells if cell.ours is not None]
    return Counted(len(cells), len(run), sum(cell.verdict == Verdict.MATCHES for cell in run))


def ours_text(cell: TableCell) -> str:
    """Our mean in percent; nothing where nothing was run."""
    return "" if cell.ours is None else f"{cell.ours.mean:.1f}"


def paper_text(cell: TableCell) -> str:
    """The published accuracy in percent; nothing where there is none."""
    return "" if cell.published is None else f"{cell.published.accuracy_percent:.1f}"


def both(cell: TableCell | None) -> str:
    """`55.5 / 64.7`, ours and the paper's; `/ 64.7` where nothing was run."""
    if cell is None:
        return ""
    if cell.published is None:
        return ours_text(cell)
    return f"{ours_text(cell)} / {paper_text(cell)}".strip()
