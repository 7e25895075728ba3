"""Which cells of a table a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence

from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell


def select(
    cells: Sequence[Cell],
    *,
    datasets: Sequence[str] = (),
    ipc: Sequence[int] = (),
    methods: Sequence[str] = (),
    architectures: Sequence[str] = (),
    zca: bool | None = None,
) -> list[Cell]:
    """The cells with one of the given values in each field; an empty field, or None, takes all.

    Raises:
      UserError: a value that no cell has, or nothing left.
    """
    for what, wanted, known in (
        ("data set", datasets, {c.dataset for c in cells}),
        ("images per class", ipc, {c.images_per_class for c in cells}),
        ("method", methods, {c.method for c in cells}),
        ("architecture", architectures, {c.architecture for c in cells}),
    ):
        for value in wanted:
            if value not in known:
                choices = ", ".join(map(str, sorted(known)))
                raise UserError(f"unknown {what} {value!r} in this table: choose from {choices}")
    chosen = [
        cell
        for cell in cells
        if (not datasets or cell.dataset in datasets)
        and (not ipc or cell.images_per_class in ipc)
        and (not methods or cell.method in methods)
        and (not architectures or cell.architecture in architectures)
        and zca in (None, cell.zca)
    ]
    if not chosen:
        raise UserError("no cell of this table has all that was asked for: ask for less at once")
    return chosen
