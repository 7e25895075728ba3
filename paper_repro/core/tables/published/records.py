"""The rows of the published tables as frozen records.

Data sets are named MNIST, Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100; ten classes, except for
CIFAR-100. `images_per_class` is None where the whole training set was used.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFigure:
    """A published test accuracy.

    Attributes:
      accuracy_percent: the accuracy in percent, as printed.
      plus_minus: what follows the plus-minus sign, in points; None where a single run is printed.
        The sources do not say whether it is a standard deviation or a standard error.
      source: the place where it is printed, for captions and tooltips.
    """

    accuracy_percent: float
    plus_minus: float | None
    source: str

    def __str__(self) -> str:
        if self.plus_minus is None:
            return f"{self.accuracy_percent:.1f}"
        return f"{self.accuracy_percent:.1f} ± {self.plus_minus:.1f}"


@dataclass(frozen=True)
class ComparisonCell:
    """One cell of Table 1, of the DC / DSA / coreset table, or of the LeNet / AlexCifarNet one."""

    dataset: str
    images_per_class: int | None
    method: str
    figure: PublishedFigure


@dataclass(frozen=True)
class CheapKernelCell:
    """One CIFAR-10 cell of the cheap-kernel table.

    `algorithm` is KRR or NN; `support_size` counts images, ten times `images_per_class`.
    """

    algorithm: str
    architecture: str
    method: str
    support_size: int
    images_per_class: int
    figure: PublishedFigure


@dataclass(frozen=True)
class TransferRow:
    """One row of Table 2: distilled sets that train a finite ConvNet.

    `kip_labels_used` is fixed or learned, whichever the paper found better. The two changes are
    points against KRR as printed, which is not the difference to the other tables (see
    `paper_repro.core.tables.published.table2`).
    """

    dataset: str
    images_per_class: int
    best_dc_dsa: PublishedFigure
    kip_to_nn: PublishedFigure
    kip_labels_used: str
    kip_change_vs_krr: float
    ls_to_nn: PublishedFigure
    ls_change_vs_krr: float


@dataclass(frozen=True)
class AblationRow:
    """One row of Table A3 (CIFAR-10, ConvNet): the KRR accuracy and the finite network's."""

    images_per_class: int
    zca: bool
    learned_labels: bool
    augmentation: bool
    kip: PublishedFigure
    nn: PublishedFigure


@dataclass(frozen=True)
class OfficialRun:
    """One evaluation printed by the official release's index.

    `test_accuracy` is a fraction, `test_mse` has the 0.5 factor (None where it is not printed),
    `step` is None for label solve, and `figure` is the accuracy in percent. Label-solve rows are
    one support draw each, without an error bar.
    """

    dataset: str
    architecture: str
    support_size: int
    zca: bool
    learned_labels: bool
    augmentation: bool
    step: int | None
    test_accuracy: float
    test_mse: float | None
    figure: PublishedFigure
