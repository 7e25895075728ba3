"""`python -m paper_repro.benchmark <subcommand>`: one module of this package per subcommand.

The modules import what is heavy inside their functions, so that `--help` stays quick.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from paper_repro.benchmark.fc import fc
from paper_repro.benchmark.kernel import kernel
from paper_repro.benchmark.step import step
from paper_repro.core.cli import run


def _later(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """`function` bound to its arguments, to be called when all are parsed."""

    @functools.wraps(function)
    def bind(*values: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(function, *values, **named)

    return bind


Command = (
    Annotated[Any, tyro.conf.subcommand("kernel", constructor=_later(kernel))]
    | Annotated[Any, tyro.conf.subcommand("fc", constructor=_later(fc))]
    | Annotated[Any, tyro.conf.subcommand("step", constructor=_later(step))]
)


def main(command: Annotated[Command, tyro.conf.arg(name="")]) -> None:
    """Measure kernel throughput against neural-tangents.

    Examples:
        python -m paper_repro.benchmark kernel --quick
        python -m paper_repro.benchmark kernel --json > benchmark.json
        python -m paper_repro.benchmark fc
        python -m paper_repro.benchmark step
    """
    command()


if __name__ == "__main__":
    run(main)
