"""Result tables as a picture: columns as wide as their text, the verdict on its colour."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from paper_repro.core.pictures.canvas import DPI, literal, new_figure, save
from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render import style
from paper_repro.core.tables.render.text import NUMERIC, header, line, without_backticks
from paper_repro.core.tables.wide import ours_text, paper_text, widened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In inches, apart from the font sizes.
SIZE, TITLE_SIZE = 9, 12
LINE, PAD, GAP, MARGIN, OUTSET = 0.17, 0.075, 0.24, 0.25, 0.08
_CLOSE = 0.035
WRAP = 34  # characters in one line of a cell


def render_png(table: ResultTable, path: Path | str) -> Path:
    """Write the table (without its appendices) to `path`.

    Raises:
      OSError: the file cannot be written.
    """
    names = [_wrap(name, 16) for name in header(table)]
    texts = [map(without_backticks, line(table, cell)) for cell in table.cells]
    lines = [[_wrap(text, WRAP) for text in words] for words in texts]
    widths = _widths([names, *lines])
    heights = [_height(words) for words in (names, *lines)]
    width = sum(widths) + GAP * (len(widths) - 1) + 2 * MARGIN
    # Never narrower than a title needs, however few the columns.
    title = textwrap.wrap(without_backticks(table.title), max(40, int(width / 0.11)))
    caption = textwrap.wrap(without_backticks(table.caption), max(60, int(width / 0.075)))
    top = MARGIN + 0.24 * len(title) + LINE * len(caption) + 0.12
    height = top + sum(heights) + MARGIN

    figure = new_figure(width, height)
    put = _Pen(figure, width, height)
    y = MARGIN
    for text in title:
        put.text(MARGIN, y + 0.12, text, size=TITLE_SIZE, weight="bold")
        y += 0.24
    for text in caption:
        put.text(MARGIN, y + LINE / 2, text, color="#555555")
        y += LINE
    y = top
    for index, (words, row_height) in enumerate(zip((names, *lines), heights, strict=True)):
        x = MARGIN
        for column, (text, cell_width) in enumerate(zip(words, widths, strict=True)):
            is_verdict = index > 0 and column == len(widths) - 1
            if is_verdict:
                verdict = table.cells[index - 1].verdict
                put.box(x - OUTSET, y + 0.025, cell_width + 2 * OUTSET, row_height - 0.05, verdict)
            right = header(table)[column] in NUMERIC
            put.text(
                x + cell_width if right else x,
                y + row_height / 2,
                text,
                ha="right" if right else "left",
                weight="bold" if index == 0 else "normal",
                color=style.ink(verdict) if is_verdict else "#222222",
            )
            x += cell_width + GAP
        y += row_height
        put.rule(MARGIN, width - MARGIN + OUTSET, y, "#222222" if index == 0 else "#dddddd")
    return save(figure, path, tight=False, colors=64)


def render_wide_png(table: ResultTable, path: Path | str) -> Path:
    """Write the table in its wide shape to `path`: ours above the paper's, on the verdict's colour.

    Raises:
      OSError: the file cannot be written.
    """
    names, lines = widened(table)
    leading = len(table.wide.rows)
    heads = [_wrap(name, 12) for name in names]
    keys = [list(key) for key, _ in lines]
    widths = [
        *_widths([heads[:leading], *keys]),
        *(max(width, 0.72) for width in _widths([heads[leading:]])),
    ]
    head_height, row_height = _height(heads), 2 * LINE + 2 * _CLOSE
    width = max(sum(widths) + GAP * (len(widths) - 1) + 2 * MARGIN, 6.5)
    compares = any(cell.published is not None for cell in table.cells)
    what = "Test accuracy in percent, ours above the paper's" if compares else "Ours, in percent"
    top = MARGIN + 0.24 + (2 if compares else 1) * LINE + 0.12
    figure = new_figure(width, top + head_height + row_height * len(lines) + MARGIN)
    put = _Pen(figure, *figure.get_size_inches())
    put.text(MARGIN, MARGIN + 0.12, without_backticks(table.title), size=TITLE_SIZE, weight="bold")
    put.text(MARGIN, MARGIN + 0.24 + LINE / 2, f"{what}. Empty: not run.", color="#555555")
    x = MARGIN
    for verdict in style.MARKS.values() if compares else ():
        put.box(x, MARGIN + 0.26 + LINE, 0.12, 0.12, verdict)
        put.text(x + 0.18, MARGIN + 0.24 + 1.5 * LINE, verdict, color="#555555", size=8)
        x += 0.42 + 0.062 * len(verdict)
    y = top
    for number, (key, cells) in enumerate([(heads[:leading], ()), *lines]):
        height = head_height if number == 0 else row_height
        texts = [*key, *(heads[leading:] if number == 0 else cells)]
        x = MARGIN
        for column, (cell, cell_width) in enumerate(zip(texts, widths, strict=True)):
            middle = x + cell_width / 2
            if number == 0 or column < leading:
                bold, va = ("bold", "center") if number == 0 else ("normal", "center_baseline")
                at, ha = (x, "left") if column < leading else (middle, "center")
                put.text(at, y + height / 2, cell, weight=bold, color="#222222", ha=ha, va=va)
            elif cell is not None:
                if cell.ours is not None:
                    put.box(x, y + 0.025, cell_width, height - 0.05, cell.verdict)
                    alone = cell.published is None
                    high = y + (height / 2 if alone else _CLOSE + LINE / 2)
                    ink = style.ink(cell.verdict)
                    put.text(middle, high, ours_text(cell), weight="bold", color=ink, ha="center")
                low = y + _CLOSE + 1.5 * LINE
                put.text(middle, low, paper_text(cell), color="#777777", size=8, ha="center")
            x += cell_width + GAP
        y += height
        put.rule(MARGIN, width - MARGIN, y, "#222222" if number == 0 else "#dddddd")
    return save(figure, path, tight=False, colors=128)


class _Pen:
    """Draws on a figure in inches from the upper left corner."""

    def __init__(self, figure: Figure, width: float, height: float):
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")

    def text(self, x: float, y: float, text: str, *, size: int = SIZE, **how: str) -> None:
        how = {"ha": "left", "va": "center", **how}
        self.axes.text(x, y, literal(text), fontsize=size, linespacing=1.25, **how)

    def box(self, x: float, y: float, width: float, height: float, verdict: str) -> None:
        from matplotlib.patches import Rectangle

        self.axes.add_patch(Rectangle((x, y), width, height, color=style.fill(verdict), lw=0))

    def rule(self, left: float, right: float, y: float, color: str) -> None:
        self.axes.plot([left, right], [y, y], color=color, linewidth=0.8, clip_on=False)


def _widths(rows: list[list[str]]) -> list[float]:
    """Width of each column in inches: its widest text, measured in bold like the header."""
    figure = new_figure(1, 1)
    renderer = figure.canvas.get_renderer()

    def measure(text: str) -> float:
        artist = figure.text(0, 0, literal(text), fontsize=SIZE, weight="bold")
        return artist.get_window_extent(renderer).width / DPI if text else 0.0

    return [max(measure(text) for text in column) for column in zip(*rows, strict=True)]


def _height(words: list[str]) -> float:
    return LINE * max(text.count("\n") + 1 for text in words) + 2 * PAD


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False))
