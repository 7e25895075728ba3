"""Result tables as GitHub Markdown: the same rows give the same bytes."""

from __future__ import annotations

from paper_repro.core.render.text import NUMERIC, header, line
from paper_repro.core.tables import ResultTable


def render_markdown(table: ResultTable, *, level: int = 2) -> str:
    """The table with its title (a heading of `level`), caption, notes and appendices.

    Ends with one newline.
    """
    parts = ["#" * level + " " + _inline(table.title)]
    if table.caption:
        parts.append(table.caption)
    if table.cells:
        parts.append(_grid(table))
    if table.notes:
        parts.append("\n".join(f"- {note}" for note in table.notes))
    parts.extend(render_markdown(a, level=level + 1).rstrip("\n") for a in table.appendices)
    return "\n\n".join(parts) + "\n"


def _grid(table: ResultTable) -> str:
    names = header(table)
    rule = ["---:" if name in NUMERIC else "---" for name in names]
    lines = [names, rule, *(line(table, cell) for cell in table.cells)]
    return "\n".join(
        "| " + " | ".join(t if words is rule else _inline(t) for t in words) + " |"
        for words in lines
    )


def _inline(text: str) -> str:
    """One line of literal text: what would end a table cell or start markup is escaped."""
    escaped = " ".join(text.split())
    for character in "\\|*_`<[":
        escaped = escaped.replace(character, "\\" + character)
    return escaped
