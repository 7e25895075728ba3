"""Write RESULTS.md, a page for each script and the tables' pictures from the result rows.

    python -m paper_repro.report --results results

No number is typed. RESULTS.md opens with how many cells of every table are run, then shows the main
tables in short, each between two markers, and names the others; what is written around is kept. The
page of a script in `results/pages` has its description, its table a line a cell, and all of its
runs. A `README.md` beside RESULTS.md that has the markers of the headline gets Table 1 in short.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.cli import run
from paper_repro.core.errors import UserError
from paper_repro.core.pictures.table import render_png, render_wide_png
from paper_repro.core.store.files import require_file_place, write_atomic
from paper_repro.core.store.rows import read_rows, rows_for
from paper_repro.core.tables.cells import ResultTable
from paper_repro.core.tables.render.markdown import (
    inline,
    legend,
    render_coverage,
    render_short,
    render_wide,
)
from paper_repro.core.tables.render.pages import page_path, pictures_of, relative, render_page
from paper_repro.scripts import TableModule, other_pictures, page_only, scripts

HEADLINE = "table1_comparison"
"""The script whose table stands in the README, in short."""

OVERVIEW = "overview"
"""The marker of the bars that RESULTS.md opens with."""

MORE = "more"
"""The marker of the list of tables and figures that have a page and no section."""

HEADER = """# Results

Every table here is generated from the rows in `results/` by `python -m paper_repro.report`.
"""


def main(
    results: Path = Path("results"), out: Path = Path("RESULTS.md"), check: bool = False
) -> None:
    """Write the tables into RESULTS.md, their pictures, and a page for each script.

    Examples:
        python -m paper_repro.report
        python -m paper_repro.report --results runs --out runs/RESULTS.md
        python -m paper_repro.report --check

    Args:
        results: directory of result rows, <script>.jsonl; pictures go there, pages into pages/.
        out: the Markdown file; text outside of the markers is kept.
        check: write nothing, fail when a Markdown file is not what the rows give.
    """
    if not results.is_dir():
        raise UserError(
            f"no directory {results}: run a table first, such as "
            f"`python -m paper_repro.table_cheap_kernels --preset laptop --out {results}`"
        )
    if not check:
        require_file_place(out)
    modules = [script.load() for script in scripts()]
    if check:
        expected = texts(shown_of(modules, results), results, out)
        for path, text in expected.items():
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                raise UserError(
                    f"{path} does not show the rows in {results}: run "
                    f"`python -m paper_repro.report --results {results} --out {out}`"
                )
        print(f"{out} and {results}/pages show the rows in {results}")
        return
    for path in write_report(modules, results, out):
        print(f"wrote {path}")


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a report shows of a script.

    Attributes:
      module: the script.
      rows: its own rows, then all others of the directory: tables share cells.
      table: what they make.
    """

    module: TableModule
    rows: Sequence[Mapping[str, Any]]
    table: ResultTable


def shown_of(modules: Sequence[TableModule], results: Path) -> dict[str, Shown]:
    """Every script with its rows and table, by name.

    Raises:
      UserError: a result file is corrupted.
    """
    found = {}
    for module in modules:
        rows = rows_for(module.SCRIPT, results)
        found[module.SCRIPT] = Shown(module, rows, module.table(rows))
    return found


def write_report(modules: Sequence[TableModule], results: Path, out: Path) -> list[Path]:
    """Write `out`, `results/<script>.png` (an appendix: `-appendix1`, ...), pages and headline.

    Returns:
      The paths.

    Raises:
      UserError: a result file is corrupted, or `out` has a marker without its partner.
    """
    scripts = shown_of(modules, results)
    # What is wrong shows before anything is written; texts show the pictures, so they come last.
    texts(scripts, results, out)
    written = []
    for name, shown in scripts.items():
        table = shown.table
        if table.wide is not None:
            written.append(render_wide_png(table, _picture(results, name)))
        for number, part in enumerate((table, *table.appendices)):
            if part.cells and (number or table.wide is None):
                written.append(render_png(part, _picture(results, name, number)))
        if hasattr(shown.module, "draw"):
            written += shown.module.draw(shown.rows, results)
    for path, content in texts(scripts, results, out).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        written.append(path)
    return written


def texts(scripts: Mapping[str, Shown], results: Path, out: Path) -> dict[Path, str]:
    """Every Markdown file that the rows make, `out` last."""
    found = {
        **pages(scripts, results, out),
        **headline(scripts, out.with_name("README.md")),
    }
    return {**found, out: report(scripts, results, out)}


def headline(scripts: Mapping[str, Shown], readme: Path) -> dict[Path, str]:
    """The text of `readme` with its headline renewed; nothing where it has no marker for one."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if "<!-- begin headline" not in text:
        return {}
    table = render_wide(scripts[HEADLINE].table)
    body = f"{table}\n\nOurs / the paper's, test accuracy in percent: {legend()}.\n"
    return {readme: replace_between_markers(text, "headline", body, readme)}


def pages(scripts: Mapping[str, Shown], results: Path, out: Path) -> dict[Path, str]:
    """The page of each script, which shows the pictures that are there now."""
    found = {}
    for name, shown in scripts.items():
        rows = read_rows(results / f"{name}.jsonl")
        pictures = pictures_of(results, name, rows, other_pictures(name))
        about = shown.module.__doc__ or name
        found[page_path(results, name)] = render_page(
            name, about, shown.table, rows, results, out, pictures
        )
    return found


def report(scripts: Mapping[str, Shown], results: Path, out: Path) -> str:
    """The text of `out` with every table between its markers renewed; new ones come last."""
    text = out.read_text(encoding="utf-8") if out.is_file() else HEADER
    tables = {name: shown.table for name, shown in scripts.items()}
    links = {name: relative(page_path(results, name), out.parent) for name in tables}
    body = f"{render_coverage(tables)}\n\nIn the tables, ours / the paper's: {legend()}.\n"
    text = replace_between_markers(text, OVERVIEW, body, out)
    listed = page_only()
    for script, table in tables.items():
        if script in listed:
            continue
        picture = relative(_drawn(results, script), out.parent)
        link, gap = f"[{script}]({links[script]})", "\n" if table.notes else "\n\n"
        body = (
            f"## {inline(table.title)}\n\n{render_short(table)}{gap}"
            f"- Budgets, intervals, verdicts in words, appendices and every run: {link}.\n\n"
            f"![{table.title}]({picture})\n"
        )
        text = replace_between_markers(text, script, body, out)
    lines = [
        f"- [{inline(table.title)}]({links[script]})"
        for script, table in tables.items()
        if script in listed
    ]
    if lines:
        body = "## More tables and figures\n\n" + "\n".join(lines) + "\n"
        text = replace_between_markers(text, MORE, body, out)
    return text


def replace_between_markers(text: str, script: str, body: str, path: Path) -> str:
    """`text` with `body` between the markers of `script`, appended when it has none.

    Raises:
      UserError: the markers are not one begin followed by one end; names `path`.
    """
    begin, end = f"<!-- begin {script} (generated) -->", f"<!-- end {script} -->"
    block = f"{begin}\n{body}\n{end}"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        return f"{text.rstrip()}\n\n{block}\n"
    if counts != (1, 1) or text.index(begin) > text.index(end):
        raise UserError(
            f"{path} must hold `{begin}` once and `{end}` once after it: correct the markers, or "
            "remove both"
        )
    pattern = re.escape(begin) + ".*" + re.escape(end)
    return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)


def _picture(results: Path, script: str, appendix: int = 0) -> Path:
    return results / f"{script}{f'-appendix{appendix}' if appendix else ''}.png"


def _drawn(results: Path, script: str) -> Path:
    """The curves of a figure, or the picture of its table."""
    curves = results / "pictures" / f"{script}.png"
    return curves if curves.is_file() else _picture(results, script)


if __name__ == "__main__":
    run(main)
