"""Result tables as GitHub Markdown: the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render import style
from paper_repro.core.tables.render.text import CODE, NUMERIC, header, line
from paper_repro.core.tables.wide import both, counted, widened

_BAR = 38
"""Characters of a bar."""


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


def render_wide(table: ResultTable) -> str:
    """The grid of a table in its wide shape: ours / paper, a coloured square for the verdict."""
    names, lines = widened(table)
    leading = len(table.wide.rows)
    texts = [
        [*key, *(f"{style.mark(c.verdict)} {both(c)}".strip() if c else "" for c in cells)]
        for key, cells in lines
    ]
    return grid(names, texts, [number >= leading for number in range(len(names))])


def render_short(table: ResultTable) -> str:
    """What the front page shows of a table: its caption, its wide shape and its notes."""
    parts = [inline(table.caption)] if table.caption else []
    if table.wide is not None and table.cells:
        parts.append(render_wide(table))
    if table.notes:
        parts.append("\n".join(f"- {inline(note)}" for note in table.notes))
    return "\n\n".join(parts)


def render_coverage(tables: Mapping[str, ResultTable]) -> str:
    """A bar for each table: how many of its cells were run, and how many match.

    Args:
      tables: by the name of their script.
    """
    lines = []
    for name, table in tables.items():
        found = counted(table)
        if not found.cells:
            continue
        full, half = (round(_BAR * n / found.cells) for n in (found.matching, found.run))
        bar = "█" * full + "▒" * (half - full) + "░" * (_BAR - half)
        lines.append(
            [f"`{name}`", f"`{bar}`", str(found.cells), str(found.run), str(found.matching)]
        )
    names = ["Table", "matching █, other runs ▒, not run ░", "Cells", "Run", "Match"]
    return grid(names, lines, [False, False, True, True, True])


def legend() -> str:
    """What the squares of `render_wide` mean."""
    return "; ".join(f"{mark} {meaning}" for mark, meaning in style.MARKS.items())
