"""Write RESULTS.md and the tables' pictures from the result rows: no number is typed.

    python -m paper_repro.report --results results

Each script's table stands between two markers; what is written around them is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.cli import run
from paper_repro.core.errors import UserError
from paper_repro.core.files import write_atomic
from paper_repro.core.registry import TableModule, scripts
from paper_repro.core.render.markdown import render_markdown
from paper_repro.core.render.png import render_png
from paper_repro.core.results import read_rows

HEADER = """# Results

Every table here is generated from the rows in `results/` by `python -m paper_repro.report`.
"""


def main(
    results: Path = Path("results"), out: Path = Path("RESULTS.md"), check: bool = False
) -> None:
    """Write the tables into RESULTS.md, and a picture of each beside its rows.

    Examples:
        python -m paper_repro.report
        python -m paper_repro.report --results runs --out runs/RESULTS.md
        python -m paper_repro.report --check

    Args:
        results: directory of result rows, <script>.jsonl; the pictures go there too.
        out: the Markdown file; text outside of the markers is kept.
        check: write nothing, fail when the Markdown file is not what the rows give.
    """
    if not results.is_dir():
        raise UserError(
            f"no directory {results}: run a table first, such as "
            f"`python -m paper_repro.table_cheap_kernels --preset laptop --out {results}`"
        )
    modules = [script.load() for script in scripts()]
    if check:
        if not out.is_file() or out.read_text(encoding="utf-8") != report(modules, results, out):
            raise UserError(
                f"{out} does not show the rows in {results}: run "
                f"`python -m paper_repro.report --results {results} --out {out}`"
            )
        print(f"{out} shows the rows in {results}")
        return
    for path in write_report(modules, results, out):
        print(f"wrote {path}")


def write_report(modules: Sequence[TableModule], results: Path, out: Path) -> list[Path]:
    """Write `out` and `results/<script>.png` (an appendix: `-appendix1`, ...); returns the paths.

    Raises:
      UserError: a result file is corrupted, or `out` has a marker without its partner.
    """
    text = report(modules, results, out)
    written = []
    rows = all_rows(modules, results)
    for module in modules:
        table = module.table(rows[module.SCRIPT])
        for number, part in enumerate((table, *table.appendices)):
            if part.cells:
                written.append(render_png(part, _picture(results, module.SCRIPT, number)))
    write_atomic(out, text)
    return [*written, out]


def report(modules: Sequence[TableModule], results: Path, out: Path) -> str:
    """The text of `out` with every table between its markers renewed; new ones come last."""
    text = out.read_text(encoding="utf-8") if out.is_file() else HEADER
    rows = all_rows(modules, results)
    for module in modules:
        table = module.table(rows[module.SCRIPT])
        link = Path(os.path.relpath(_picture(results, module.SCRIPT), out.parent)).as_posix()
        body = f"{render_markdown(table)}\n![{table.title}]({link})\n"
        text = replace_between_markers(text, module.SCRIPT, body, out)
    return text


def replace_between_markers(text: str, script: str, body: str, path: Path) -> str:
    """`text` with `body` between the markers of `script`, appended when it has none.

    Raises:
      UserError: the markers are not one begin followed by one end; names `path`.
    """
    begin, end = f"<!-- begin {script} (generated) -->", f"<!-- end {script} -->"
    block = f"{begin}\n\n{body}\n{end}"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        return f"{text.rstrip()}\n\n{block}\n"
    if counts != (1, 1) or text.index(begin) > text.index(end):
        raise UserError(
            f"{path} must hold `{begin}` once and `{end}` once after it: correct the markers, or "
            "remove both and the table is appended"
        )
    pattern = re.escape(begin) + ".*" + re.escape(end)
    return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)


def all_rows(
    modules: Sequence[TableModule], results: Path
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """For each script its own rows, then those of the others: tables share cells."""
    files = {m.SCRIPT: read_rows(results / f"{m.SCRIPT}.jsonl") for m in modules}
    return {
        script: [*own, *(row for other in files if other != script for row in files[other])]
        for script, own in files.items()
    }


def _picture(results: Path, script: str, appendix: int = 0) -> Path:
    return results / f"{script}{f'-appendix{appendix}' if appendix else ''}.png"


if __name__ == "__main__":
    run(main)
