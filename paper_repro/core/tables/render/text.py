"""The words of a rendered table: column headers and one tuple of strings per cell."""

from __future__ import annotations

import re

from paper_repro.core.tables.cells import ResultTable, TableCell
from paper_repro.core.tables.published.records import PublishedFigure
from paper_repro.core.tables.statistics import Estimate

COLUMNS = (
    "Paper",
    "Ours (mean, 95 % CI, n)",
    "Difference",
    "Budget paper",
    "Budget ours",
    "Verdict",
)
NUMERIC = ("Paper", "Ours (mean, 95 % CI, n)", "Difference")
NOTHING = "-"
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
"""A code span of a title, cell or note: one or more backticks, what they hold, as many again."""


def header(table: ResultTable) -> tuple[str, ...]:
    """The column names: the table's label columns, then the fixed ones."""
    return (*table.label_columns, *COLUMNS)


def line(table: ResultTable, cell: TableCell) -> tuple[str, ...]:
    """The strings of one cell, in the order of `header`."""
    return (
        *(cell.label.get(column, "") for column in table.label_columns),
        published_text(cell.published),
        estimate_text(cell.ours),
        NOTHING if cell.difference is None else f"{_unsigned_zero(cell.difference):+.1f}",
        cell.paper_budget or NOTHING,
        cell.our_budget or NOTHING,
        cell.verdict,
    )


def published_text(figure: PublishedFigure | None) -> str:
    """Such as `39.9 ± 0.9`; the published digits."""
    return NOTHING if figure is None else str(figure)


def estimate_text(ours: Estimate | None) -> str:
    """Such as `46.6 ± 0.4 (n = 3)`, in percent; without an interval for one run."""
    if ours is None:
        return NOTHING
    spread = "" if ours.half_width is None else f" ± {ours.half_width:.1f}"
    return f"{ours.mean:.1f}{spread} (n = {ours.n})"


def without_backticks(text: str) -> str:
    """`text` with its code spans as plain words, for pictures."""
    return CODE.sub(r"\2", text)


def _unsigned_zero(value: float) -> float:
    return 0.0 if round(value, 1) == 0 else value
