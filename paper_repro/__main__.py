"""Front door: which tables and figures there are, what they cost, what has been run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from paper_repro.core.cli import run
from paper_repro.core.registry import progress, scripts

COMMANDS = (
    ("report", "write RESULTS.md and its pictures from the rows in results/"),
    ("evaluate", "test accuracy of any support set (npz with images and labels)"),
    ("benchmark", "kernel throughput against neural-tangents"),
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
    print("Dataset Distillation with Infinitely Wide Convolutional Networks, reproduced.\n")
    found = scripts()
    for script in found:
        done = progress(results, script.name)
        print(f"{script.name}")
        print(f"    reproduces  {script.reproduces}")
        for number, cost in enumerate(script.cost):
            print(f"    {'' if number else 'cost':<11} {cost}")
        print(
            f"    done        {_count(done.cells, 'cell')} in {results}/{script.name}.jsonl "
            f"({done.paper_cells} at the paper preset, {_count(done.rows, 'row')})"
        )
        print(f"    run         python -m paper_repro.{script.name} --preset laptop --out runs\n")
    if not found:
        print("No table script is installed.\n")
    for name, purpose in COMMANDS:
        if importlib.util.find_spec(f"paper_repro.{name}") is not None:
            print(f"python -m paper_repro.{name:<10} {purpose}")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


if __name__ == "__main__":
    run(main)
