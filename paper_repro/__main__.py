"""Front door: which tables and figures there are, what they cost, what has been run."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

from paper_repro.core.cli import run
from paper_repro.core.runs.coverage import coverage, finished_rows
from paper_repro.scripts import Script, scripts

WIDTH = 100
COMMANDS = (
    ("paper_repro.distill", "KIP or Label Solve on any data set, one of your own too"),
    ("paper_repro.evaluate", "test accuracy of any support set (npz)"),
    ("paper_repro.figure_dimension", "the intrinsic dimension of the sets in checkpoints/"),
    ("paper_repro.report", "RESULTS.md, pictures and pages, from the rows in results/"),
    ("paper_repro.export_checkpoints", "learned sets of finished runs, into checkpoints/"),
    ("paper_repro.benchmark", "kernel, fc, step, labels, transfer, matching, static, cluster"),
    ("paper_repro.gpu_session", "what a card is for in a few minutes, in one command that resumes"),
    ("release", "build, verify, push, load, diff: sets for the Hub"),
    ("paper_repro.core.data", "fetch data sets into the cache ahead of time"),
    ("paper_repro.core.preprocess", "check the ZCA test vector of a data set, or save its ZCA"),
)


def main(results: Path = Path("results")) -> None:
    """List the table and figure scripts, what each costs, and what has been run.

    Examples:
        python -m paper_repro
        python -m paper_repro --results runs
        python -m paper_repro.table_cheap_kernels --preset laptop --out runs
        python -m paper_repro.report --results results

    Args:
        results: directory of result rows, <script>.jsonl.
    """
    print(
        "Dataset Distillation with Infinitely Wide Convolutional Networks, reproduced.\n\n"
        "The line 'one GPU' says what the gpu preset spends. On an H100 a KIP step of ten MNIST\n"
        "images against 5,000 targets took 0.34 s; no larger step has been timed on a GPU.\n"
        "Done: runs by data set and images per class (x3: three of them, of draws or settings),\n"
        "listed under the script that ran them; other tables may use them too.\n"
    )
    if not results.is_dir():
        print(f"No directory {results} is here: name one of result rows by --results.\n")
    found = scripts()
    for script in found:
        _describe(script, results)
    if not found:
        print("No table script is installed.\n")
    for module, purpose in COMMANDS:
        if importlib.util.find_spec(module) is not None:
            print(f"python -m {module:<31} {purpose}")


def _describe(script: Script, results: Path) -> None:
    rows = finished_rows(results, script.name)
    at_paper = sum(row["preset"] == "paper" for row in rows)
    print(script.name)
    _put("reproduces", script.reproduces)
    _put("two cores", script.two_cores)
    _put("one GPU", script.gpu)
    _put(
        "done",
        f"{_count(len(rows), 'run')} in {results}/{script.name}.jsonl ({at_paper} at the paper "
        "preset)",
    )
    for line in coverage(rows):
        print(textwrap.fill(line, WIDTH, initial_indent=" " * 16, subsequent_indent=" " * 20))
    _put("run", f"python -m paper_repro.{script.name} --preset laptop --out runs")
    print()


def _put(what: str, text: str) -> None:
    print(f"    {what:<12}{text}")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


if __name__ == "__main__":
    run(main)
