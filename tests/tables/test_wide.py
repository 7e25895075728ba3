"""Tables in the paper's layout: a line per data set and size, a column per method."""

import io

import numpy as np
import pytest
from PIL import Image
from result_rows import make_row
from rich.console import Console

from paper_repro.core.pictures.table import render_wide_png
from paper_repro.core.tables.cells import CellSpec, ResultTable, Wide, build_cells
from paper_repro.core.tables.published.records import PublishedFigure
from paper_repro.core.tables.render import style
from paper_repro.core.tables.render.markdown import render_coverage, render_wide
from paper_repro.core.tables.render.terminal import print_wide
from paper_repro.core.tables.wide import counted, widened

FIGURES = {
    ("MNIST", "1", "LS"): (73.4, {"method": "LS", "dataset": "mnist"}),
    ("MNIST", "1", "KIP"): (97.3, {"method": "KIP", "dataset": "mnist"}),
    ("CIFAR", "1", "KIP"): (64.7, {"method": "KIP", "dataset": "cifar10"}),
    ("CIFAR", "1", "DC"): (28.3, None),
}


@pytest.fixture
def table():
    rows = [
        make_row(dataset="mnist", method="LS", test_accuracy=0.74),
        make_row(dataset="mnist", method="KIP", test_accuracy=0.951),
    ]
    specs = [
        CellSpec(
            dict(zip(("Data set", "Size", "Method"), label, strict=True)),
            match or {},
            PublishedFigure(figure, 0.2, "a test"),
            published_only=match is None,
        )
        for label, (figure, match) in FIGURES.items()
    ]
    wide = Wide(("Data set", "Size"), "Method", "by {}")
    return ResultTable("A table", "", build_cells(specs, rows), wide=wide)


def test_lines_and_columns_come_in_the_order_of_the_cells(table):
    names, lines = widened(table)
    assert names == ["Data set", "Size", "by LS", "by KIP", "by DC"]
    assert [key for key, _ in lines] == [("MNIST", "1"), ("CIFAR", "1")]
    assert [[cell is not None for cell in cells] for _, cells in lines] == [
        [True, True, False],
        [False, True, True],
    ]
    doubled = ResultTable("", "", [table.cells[0], table.cells[0]], wide=table.wide)
    with pytest.raises(ValueError, match="two cells at"):
        widened(doubled)


def test_markdown_shows_ours_over_the_papers_with_a_square(table):
    assert render_wide(table).splitlines() == [
        "| Data set | Size | by LS | by KIP | by DC |",
        "| --- | --- | ---: | ---: | ---: |",
        "| MNIST | 1 | 🟩 74.0 / 73.4 | 🟨 95.1 / 97.3 |  |",
        "| CIFAR | 1 |  | / 64.7 | / 28.3 |",
    ]


def test_a_bar_counts_what_was_run_and_what_matches(table):
    assert counted(table) == (3, 2, 1)  # the fourth is only printed as published
    bar = render_coverage({"t": table, "none": ResultTable("", "", [])}).splitlines()[2:]
    assert bar == ["| `t` | `" + "█" * 13 + "▒" * 12 + "░" * 13 + "` | 3 | 2 | 1 |"]


@pytest.mark.parametrize("width", [40, 100])
def test_the_terminal_shows_it_where_it_fits(table, width):
    file = io.StringIO()
    print_wide(table, Console(file=file, width=width, force_terminal=True, color_system="standard"))
    text = file.getvalue()
    assert ("74.0 / 73.4" in text) == (width == 100)
    if width == 100:
        assert "\x1b[32m" in text and "\x1b[33m" in text  # green and yellow


def test_the_picture_fits_a_screen_and_has_the_colours_of_the_verdicts(table, tmp_path):
    first, second = (render_wide_png(table, tmp_path / f"{n}.png") for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    pixels = np.asarray(Image.open(first).convert("RGB")).astype(int)
    assert pixels.shape[0] < 500
    for verdict in ("matches", "lower under reduced budget"):
        colour = [int(style.fill(verdict)[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - colour).max(axis=-1) <= 2).sum() > 2000
