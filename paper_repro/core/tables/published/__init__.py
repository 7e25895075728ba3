"""The published figures this project is measured against, read from the CSV files beside this one.

Where the sources disagree, each function returns what its own source prints:

- CIFAR-10, 50 images a class, ZCA, learned labels, no augmentation: 78.2 in Table 1, 78.4 in
  Table A3.
- MNIST, 50 a class, DC: 98.8 with +-0.1 in Table 1 and +-0.2 in the DC / DSA table.
- MNIST, 50 a class, Herding: 94.9 in DC, 94.8 in DSA (the latter is in `coresets`).
- CIFAR-10, 10 a class, DC: 44.9 on the ConvNet of DC, 39.1 on AlexCifarNet.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable
from importlib import resources
from typing import Any

from paper_repro.core.tables.published.records import (
    AblationRow,
    CheapKernelCell,
    ComparisonCell,
    OfficialRun,
    PublishedFigure,
    TransferRow,
)

__all__ = [
    "AblationRow",
    "CheapKernelCell",
    "ComparisonCell",
    "OfficialRun",
    "PublishedFigure",
    "TransferRow",
    "ablation_a3",
    "cheap_kernels",
    "coresets",
    "figure",
    "lenet_alexcifarnet",
    "official_kip_trajectory",
    "official_ls",
    "table1",
    "table2",
]


def figure(records: Iterable[Any], *, field: str = "figure", **fields: Any) -> PublishedFigure:
    """The figure of the one record whose attributes equal `fields`.

    `figure(cheap_kernels(), architecture="RBF", method="KIP", support_size=10)`, or with another
    `field` where a record holds several: `figure(ablation_a3(), field="nn", ...)`.

    Raises:
      LookupError: no record matches, or several do.
    """
    found = [r for r in records if all(getattr(r, k) == v for k, v in fields.items())]
    if len(found) != 1:
        raise LookupError(f"{len(found) or 'no'} published records match {fields}")
    return getattr(found[0], field)


def cheap_kernels() -> list[CheapKernelCell]:
    """CIFAR-10 with RBF and FC1 kernels, KIP and LS, beside DC, SLDD and DD (arXiv 2011.00050)."""
    source = "KIP and LS with cheap kernels (arXiv 2011.00050)"
    return [
        CheapKernelCell(
            algorithm=row["algorithm"],
            architecture=row["architecture"],
            method=row["method"],
            support_size=int(row["support_size"]),
            images_per_class=int(row["support_size"]) // 10,
            figure=_figure(row, "accuracy_percent", "plus_minus", source),
        )
        for row in _read("table_cheap_kernels_cifar10.csv")
    ]


def table1() -> list[ComparisonCell]:
    """Table 1 of arXiv 2107.13034: ConvNet KIP and LS against DC, DSA and FC KIP.

    CIFAR-10, 50 a class, `KIP ConvNet no aug` is 78.2 here and 78.4 in Table A3; MNIST, 50 a
    class, DC has +-0.1 here and +-0.2 in `coresets`. LS has no error bar.
    """
    return _comparison("table1_comparison.csv", "Table 1 (arXiv 2107.13034)")


def coresets() -> list[ComparisonCell]:
    """Coresets, DD, LD, DC and DSA as DSA's table prints them, with the whole training sets."""
    return _comparison("table_dc_dsa_coresets.csv", "DC and DSA")


def lenet_alexcifarnet() -> list[ComparisonCell]:
    """DC against DD on the networks of DD: LeNet for MNIST and AlexCifarNet for CIFAR-10."""
    return _comparison("table_dc_vs_dd_lenet_alexcifarnet.csv", "DC against DD")


def table2() -> list[TransferRow]:
    """Table 2 of arXiv 2107.13034: KIP and LS sets that train a finite ConvNet.

    `kip_change_vs_krr` is not the difference to Table 1 or A3: CIFAR-10, 1 a class, is
    49.9 - 58.5 = -8.6 and -9.2 is printed.
    """
    source = "Table 2 (arXiv 2107.13034)"
    return [
        TransferRow(
            dataset=row["dataset"],
            images_per_class=int(row["images_per_class"]),
            best_dc_dsa=_figure(row, "best_dc_dsa", "best_dc_dsa_pm", source),
            kip_to_nn=_figure(row, "kip_to_nn", "kip_to_nn_pm", source),
            kip_labels_used=row["kip_labels_used"],
            kip_change_vs_krr=float(row["kip_change_vs_krr"]),
            ls_to_nn=_figure(row, "ls_to_nn", "ls_to_nn_pm", source),
            ls_change_vs_krr=float(row["ls_change_vs_krr"]),
        )
        for row in _read("table2_transfer.csv")
    ]


def ablation_a3() -> list[AblationRow]:
    """Table A3 of arXiv 2107.13034: CIFAR-10, ZCA x learned labels x augmentation.

    50 a class with ZCA, learned labels and no augmentation is 78.4 here and 78.2 in Table 1.
    """
    source = "Table A3 (arXiv 2107.13034)"
    return [
        AblationRow(
            images_per_class=int(row["images_per_class"]),
            zca=_flag(row["zca"]),
            learned_labels=_flag(row["learned_labels"]),
            augmentation=_flag(row["augmentation"]),
            kip=_figure(row, "kip_accuracy", "kip_pm", source),
            nn=_figure(row, "nn_accuracy", "nn_pm", source),
        )
        for row in _read("table_a3_cifar10_ablation.csv")
    ]


def official_ls() -> list[OfficialRun]:
    """Label-solve evaluations in the official release's index: one support draw each."""
    return [_official(row) for row in _read("official_release_ls.csv")]


def official_kip_trajectory() -> list[OfficialRun]:
    """KIP test accuracy and MSE against the training step in the official release's index."""
    return [_official(row) for row in _read("official_release_kip_trajectory.csv")]


@functools.cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def _comparison(name: str, source: str) -> list[ComparisonCell]:
    return [
        ComparisonCell(
            dataset=row["dataset"],
            images_per_class=(
                None if row["images_per_class"] == "all" else int(row["images_per_class"])
            ),
            method=row["method"],
            figure=_figure(row, "accuracy_percent", "plus_minus", source),
        )
        for row in _read(name)
    ]


def _official(row: dict[str, str]) -> OfficialRun:
    accuracy = float(row["test_accuracy"])
    return OfficialRun(
        dataset=row["dataset"],
        architecture=row["architecture"],
        support_size=int(row["support_size"]),
        zca=_flag(row["zca"]),
        learned_labels=_flag(row.get("learned_labels", "1")),
        augmentation=_flag(row.get("augmentation", "0")),
        step=int(row["step"]) if "step" in row else None,
        test_accuracy=accuracy,
        test_mse=_optional(row["test_mse"]),
        figure=PublishedFigure(100 * accuracy, None, "official release index"),
    )


def _figure(row: dict[str, str], value: str, plus_minus: str, source: str) -> PublishedFigure:
    return PublishedFigure(float(row[value]), _optional(row[plus_minus]), source)


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text]


def _optional(text: str) -> float | None:
    return float(text) if text else None
