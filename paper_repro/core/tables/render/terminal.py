"""Result tables for the terminal: budgets, long and repeated, become letters with a legend."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render import style
from paper_repro.core.tables.render.text import COLUMNS, NUMERIC, header, line
from paper_repro.core.tables.wide import both, widened

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 140
BUDGETS = slice(-3, -1)
LONGEST_VERDICT = 26  # of the fixed ones; what a run needs goes to the legend
GAP = "  "


def print_table(table: ResultTable, console: Console | None = None) -> None:
    """Print the table, its caption, the legend of its letters, notes and appendices.

    Where the terminal is too narrow for one line a cell, budgets and verdict go on a second line.
    A pipe or a file gets plain text, 140 characters wide.
    """
    from rich.text import Text

    console = _console() if console is None else console
    legend = _Legend()
    names = list(header(table))
    rows = [legend.shorten(line(table, cell)) for cell in table.cells]
    styles = [style.terminal(cell.verdict) for cell in table.cells]

    def put(text: str, how: str = "") -> None:
        console.print(Text(text.rstrip(), style=how), soft_wrap=True)

    def paragraph(text: str, indent: str = "") -> None:
        for words in textwrap.wrap(text, console.width, subsequent_indent=indent):
            put(words, "dim")

    put("")
    for words in textwrap.wrap(table.title, console.width):
        put(words, "bold")
    paragraph(table.caption)
    if rows:
        put("")
        for text, how in _grid(names, rows, styles, console.width):
            put(text, how)
    put("")
    for letter, meaning in legend.entries():
        paragraph(f"{letter} {meaning}", "    ")
    for note in table.notes:
        paragraph(f"- {note}", "  ")
    for appendix in table.appendices:
        print_table(appendix, console)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def print_wide(table: ResultTable, console: Console | None = None) -> None:
    """Print a table in its wide shape, ours / paper, coloured by the verdict.

    A table without such a shape, and one that is too wide for the terminal, is left out.
    """
    from rich.text import Text

    console = _console() if console is None else console
    if table.wide is None or not table.cells:
        return
    names, lines = widened(table)
    leading = len(table.wide.rows)
    texts = [[*key, *(both(cell) for cell in cells)] for key, cells in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    widths = [
        max(width, *(len(word) for word in name.split()))
        for width, name in zip(widths, names, strict=True)
    ]
    if sum(widths) + len(GAP) * (len(widths) - 1) > console.width:
        return

    def put(words: list[str], styles: list[str]) -> None:
        padded = Text()
        for number, (word, width, how) in enumerate(zip(words, widths, styles, strict=True)):
            text = word.ljust(width) if number < leading else word.rjust(width)
            padded.append(text, how).append(GAP)
        padded.rstrip()
        console.print(padded, soft_wrap=True)

    console.print(Text(table.title, "bold"), soft_wrap=True)
    console.print(Text("ours / paper, test accuracy in percent", "dim"), soft_wrap=True)
    console.print()
    heads = [textwrap.wrap(name, width) for name, width in zip(names, widths, strict=True)]
    depth = max(map(len, heads))
    for i in range(depth):
        put([([""] * (depth - len(h)) + h)[i] for h in heads], ["bold"] * len(names))
    for words, (_, cells) in zip(texts, lines, strict=True):
        put(words, [""] * leading + [style.terminal(c.verdict) if c else "" for c in cells])


class _Legend:
    """Letters for long texts, in the order of appearance."""

    def __init__(self):
        self._letters: dict[str, str] = {}

    def shorten(self, texts: tuple[str, ...]) -> list[str]:
        *front, paper, ours, verdict = texts
        short = [text if len(text) <= 6 else self._letter(text) for text in (paper, ours)]
        if len(verdict) > LONGEST_VERDICT:
            kind, _, reason = verdict.partition(" (")
            verdict = f"{kind} {self._letter(reason.removesuffix(')'))}"
        return [*front, *short, verdict]

    def entries(self) -> list[tuple[str, str]]:
        return [(letter, text) for text, letter in self._letters.items()]

    def _letter(self, text: str) -> str:
        return self._letters.setdefault(text, f"[{_count(len(self._letters))}]")


def _count(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    first, last = divmod(index, 26)
    return (_count(first - 1) if first else "") + chr(ord("a") + last)


def _grid(
    names: list[str], rows: list[list[str]], styles: list[str], available: int
) -> list[tuple[str, str]]:
    """The header, its rule and the rows as (text, style)."""
    wide = [max(len(t) for t in column) for column in zip(names, *rows, strict=True)]
    # Two lines of header: the words of `Budget paper` stand above each other.
    wide[BUDGETS] = [6, 6]
    ours = names.index(COLUMNS[1])
    wide[ours] = max(16, *(len(row[ours]) for row in rows))
    if sum(wide) + len(GAP) * (len(wide) - 1) <= available:
        return _lines(names, rows, styles, wide)
    front = [row[: BUDGETS.start] for row in rows]
    # A header of one word may be cut; the words of a longer one stand below each other, whole.
    least = [max(map(len, name.split())) if " " in name else 6 for name in names]
    narrow = [
        max(n, *(len(t) for t in column))
        for n, column in zip(least, zip(*front, strict=True), strict=False)
    ]
    short = [
        name if len(name) <= width or " " in name else name[: width - 1] + "."
        for name, width in zip(names, narrow, strict=False)
    ]
    lines = _lines(short, front, styles, narrow)
    rest = [
        (f"    {row[-3]} / {row[-2]}  {row[-1]}", how)
        for row, how in zip(rows, styles, strict=True)
    ]
    head = lines[: -len(rows)]
    pairs = zip(lines[-len(rows) :], rest, strict=True)
    return [
        *head[:-1],
        ("    Budget paper / ours  Verdict", "bold"),
        head[-1],
        *(entry for pair in pairs for entry in pair),
    ]


def _lines(
    names: list[str], rows: list[list[str]], styles: list[str], widths: list[int]
) -> list[tuple[str, str]]:
    right = [name in NUMERIC or name.startswith("Diff") for name in names]

    def join(texts: list[str]) -> str:
        cells = zip(texts, widths, right, strict=True)
        return GAP.join(t.rjust(w) if r else t.ljust(w) for t, w, r in cells)

    words = [textwrap.wrap(name, width) for name, width in zip(names, widths, strict=True)]
    depth = max(len(w) for w in words)
    head = [join([([""] * (depth - len(w)) + w)[i] for w in words]) for i in range(depth)]
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return [
        *((text, "bold") for text in head),
        (rule, "dim"),
        *((join(row), how) for row, how in zip(rows, styles, strict=True)),
    ]
