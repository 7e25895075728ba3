"""The short form of a table: the lines that have been run, without what they are compared by."""

from __future__ import annotations

from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render.markdown import grid
from paper_repro.core.tables.render.text import NUMERIC, header, line

LEFT_OUT = ("Difference", "Budget paper")


def render_headline(table: ResultTable) -> str:
    """A Markdown table of the cells with results of ours; one line of text where there is none."""
    cells = [cell for cell in table.cells if cell.ours is not None]
    if not cells:
        return "Nothing has been recorded yet."
    names = header(table)
    kept = [number for number, name in enumerate(names) if name not in LEFT_OUT]
    lines = [line(table, cell) for cell in cells]
    return grid(
        [names[i] for i in kept],
        [[texts[i] for i in kept] for texts in lines],
        [names[i] in NUMERIC for i in kept],
    )
