"""Result tables as GitHub Markdown: the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render.text import CODE, NUMERIC, header, line

_LEFT_OUT_OF_HEADLINE = ("Difference", "Budget paper")
"""Columns that the short form leaves out."""


def render_markdown(table: ResultTable, *, level: int = 2) -> str:
    """The table with its title (a heading of `level`), caption, notes and appendices.

    Ends with one newline.
    """
    parts = ["#" * level + " " + inline(table.title)]
    if table.caption:
        parts.append(inline(table.caption))
    if table.cells:
        names = header(table)
        lines = [line(table, cell) for cell in table.cells]
        parts.append(grid(names, lines, [name in NUMERIC for name in names]))
    if table.notes:
        parts.append("\n".join(f"- {inline(note)}" for note in table.notes))
    parts.extend(render_markdown(a, level=level + 1).rstrip("\n") for a in table.appendices)
    return "\n\n".join(parts) + "\n"


def grid(names: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A table of literal texts; columns are aligned to the right where `right` says so."""

    def joined(texts: Sequence[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    rule = joined(["---:" if is_right else "---" for is_right in right])
    head, *body = (
        joined([inline(text, in_cell=True) for text in texts]) for texts in (names, *lines)
    )
    return "\n".join([head, rule, *body])


def inline(text: str, *, in_cell: bool = False) -> str:
    """One line of literal text: what would start markup is escaped, code spans stay as they are.

    `in_cell` escapes bars in code too, which would end a cell of a table there.
    """
    text = " ".join(text.split())
    parts, end = [], 0
    for span in CODE.finditer(text):
        code = span[0].replace("|", "\\|") if in_cell else span[0]
        parts += [_escaped(text[end : span.start()]), code]
        end = span.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    for character in "\\|*_`<[":
        text = text.replace(character, "\\" + character)
    return text


def render_headline(table: ResultTable) -> str:
    """The short form of a table: a Markdown table of the cells with results of ours.

    One line of text where there is none.
    """
    cells = [cell for cell in table.cells if cell.ours is not None]
    if not cells:
        return "Nothing has been recorded yet."
    names = header(table)
    kept = [number for number, name in enumerate(names) if name not in _LEFT_OUT_OF_HEADLINE]
    lines = [line(table, cell) for cell in cells]
    return grid(
        [names[i] for i in kept],
        [[texts[i] for i in kept] for texts in lines],
        [names[i] in NUMERIC for i in kept],
    )
