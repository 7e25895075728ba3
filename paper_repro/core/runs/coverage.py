"""Which runs a result file holds, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.store.rows import read_rows

Row = Mapping[str, Any]

CELL_FIELDS = (
    "dataset",
    "images_per_class",
    "method",
    "algorithm",
    "architecture",
    "kernel",
    "zca",
    "learned_labels",
    "augmentation",
)


def finished_rows(results: Path, script: str) -> list[Row]:
    """The done rows of `results/<script>.jsonl`; smoke runs do not count.

    Raises:
      UserError: the file holds a corrupted line.
    """
    rows = read_rows(results / f"{script}.jsonl")
    return [row for row in rows if row["status"] == "done"]


def coverage(rows: Iterable[Row]) -> list[str]:
    """The cells of finished rows, a line for each data set and number of images per class.

    Such as `cifar10 1: LS x3, KIP (l)`: three runs of LS and one of KIP. What sets the cells of
    one method apart is named (`KIP FC1`, `KIP FC1 NN`); numbers of images with the same cells
    share a line.
    """
    groups: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in rows:
        methods = groups.setdefault((row["dataset"], row["images_per_class"]), {})
        methods.setdefault(row["method"], []).append(row)
    lines: dict[tuple[str, str], list[int]] = {}
    for (dataset, size), methods in sorted(groups.items()):
        words = ", ".join(word for method in sorted(methods) for word in _words(methods[method]))
        lines.setdefault((dataset, words), []).append(size)
    return [
        f"{dataset} {', '.join(map(str, sizes))}: {words}"
        for (dataset, words), sizes in lines.items()
    ]


def _words(rows: Sequence[Row]) -> list[str]:
    """One method's cells, such as `KIP RBF x3`."""
    differ = {name for name in CELL_FIELDS if len({row[name] for row in rows}) > 1}
    architectures = {row["architecture"] for row in rows}
    if len({(row["architecture"], row["kernel"]) for row in rows}) == len(architectures):
        differ.discard("kernel")  # the architecture says it
    cells: dict[str, int] = {}
    for row in rows:
        name = _name(row, differ)
        cells[name] = cells.get(name, 0) + 1
    return [f"{name} x{n}" if n > 1 else name for name, n in sorted(cells.items())]


def _name(row: Row, differ: set[str]) -> str:
    said = {
        "architecture": str(row["architecture"]),
        "kernel": row["kernel"] or "",
        "algorithm": "NN" if row["algorithm"] == "NN" else "",
        "zca": "ZCA" if row["zca"] else "no ZCA",
        "learned_labels": "learned labels" if row["learned_labels"] else "fixed labels",
        "augmentation": "augmented" if row["augmentation"] else "not augmented",
    }
    return " ".join(
        [row["method"], *(said[name] for name in said if name in differ and said[name])]
    )
