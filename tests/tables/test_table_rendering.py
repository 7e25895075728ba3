import io
import random

import numpy as np
import pytest
from PIL import Image
from result_rows import make_row
from rich.console import Console

from paper_repro.core.pictures.table import render_png
from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells
from paper_repro.core.tables.published import cheap_kernels
from paper_repro.core.tables.render import style
from paper_repro.core.tables.render.markdown import render_markdown
from paper_repro.core.tables.render.terminal import print_table
from paper_repro.core.tables.render.text import without_backticks
from paper_repro.core.tables.verdict import Verdict


def make_table(rows=None):
    specs = [
        CellSpec(
            {"Architecture": c.architecture, "Method": c.method, "Images": str(c.support_size)},
            {
                "architecture": c.architecture,
                "method": c.method,
                "images_per_class": c.images_per_class,
                "algorithm": c.algorithm,
            },
            c.figure,
            paper_budget="to convergence",
            needs="about two hours on two cores",
            published_only=c.method in ("DC", "SLDD", "DD"),
        )
        for c in cheap_kernels()
    ]
    if rows is None:
        rows = [make_row(seed=s, test_accuracy=0.39 + 0.001 * s) for s in range(3)]
    appendix = ResultTable(
        "Natural | supports", "", build_cells([CellSpec({"A": "a|b *c*"}, {"seed": 0})], rows)
    )
    return ResultTable(
        "Cheap kernels", "Accuracy in %.", build_cells(specs, rows), ["A note."], [appendix]
    )


def test_markdown_of_a_small_table():
    table = ResultTable("T", "A caption.", make_table().cells[4:5], ["n"])
    assert render_markdown(table) == (
        "## T\n\nA caption.\n\n"
        "| Architecture | Method | Images | Paper | Ours (mean, 95 % CI, n) | Difference |"
        " Budget paper | Budget ours | Verdict |\n"
        "| --- | --- | --- | ---: | ---: | ---: | --- | --- | --- |\n"
        "| FC1 | KIP | 10 | 39.3 ± 1.6 | 39.1 ± 0.2 (n = 3) | -0.2 | to convergence |"
        " laptop, 300 steps, target batch 5,000, 45,000 training images | matches |\n\n"
        "- n\n"
    )


def test_markdown_has_as_many_cells_in_every_line_whatever_the_text():
    lines = render_markdown(make_table()).splitlines()
    grid = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in grid[:19]}) == 1
    assert "### Natural \\| supports" in lines
    assert any("a\\|b \\*c\\*" in line for line in lines)


def test_code_in_backticks_is_code_in_markdown():
    needs = "`python -m a_b --c <x> | head`"
    cells = build_cells([CellSpec({"A": "a_b `unpaired"}, {"seed": 99}, needs=needs)], [])
    table = ResultTable("The `a_b` table", "Of ``x`y`` and *z*.", cells, [f"By {needs}, <b>."])
    text = render_markdown(table)
    assert text.startswith("## The `a_b` table\n\nOf ``x`y`` and \\*z\\*.\n")
    assert "| a\\_b \\`unpaired |" in text
    assert "not run (needs `python -m a_b --c <x> \\| head`) |\n" in text
    assert text.endswith("\n- By `python -m a_b --c <x> | head`, \\<b>.\n")


def test_pictures_show_no_backticks():
    assert without_backticks("a `b_c` ``d`e``, `f") == "a b_c d`e, `f"


def test_markdown_does_not_depend_on_the_order_of_the_rows():
    rows = [make_row(seed=s, test_accuracy=0.35 + 0.007 * s) for s in range(9)]
    texts = set()
    for shuffle in range(5):
        random.Random(shuffle).shuffle(rows)
        texts.add(render_markdown(make_table(rows)))
    assert len(texts) == 1


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_terminal_shows_every_number_within_its_width(width):
    file = io.StringIO()
    print_table(make_table(), Console(file=file, width=width))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert text.count("published figure only") == 5
    for words in ("39.3 ± 1.6", "39.1 ± 0.2 (n = 3)", "matches", "not run [", "A note."):
        assert words in text
    assert "about two hours on two cores" in " ".join(text.split())
    assert "\x1b" not in text


def test_an_empty_table_renders(tmp_path):
    table = ResultTable("Nothing yet", "", [])
    file = io.StringIO()
    print_table(table, Console(file=file, width=80))
    assert "Nothing yet" in file.getvalue()
    assert render_markdown(table) == "## Nothing yet\n"


def test_the_png_is_deterministic_small_and_coloured_by_verdict(tmp_path):
    first, second = render_png(make_table(), tmp_path / "a.png"), tmp_path / "b.png"
    render_png(make_table(), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 150_000
    pixels = np.asarray(Image.open(first).convert("RGB"))
    green = tuple(int(style.fill(Verdict.MATCHES)[i : i + 2], 16) for i in (1, 3, 5))
    assert (np.abs(pixels.astype(int) - green).max(axis=-1) <= 2).sum() > 1000
    # Nothing is clipped: the outermost pixels are white.
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 255).all()


def test_every_verdict_has_a_style():
    for verdict in [*Verdict, "not run (needs a GPU)"]:
        assert style.fill(verdict).startswith("#")
        assert style.ink(verdict) != style.fill(verdict)
        assert style.terminal(verdict)
    assert style.fill("matches") == style.fill(Verdict.MATCHES)
