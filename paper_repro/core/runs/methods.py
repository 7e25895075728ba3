"""The ways to distil that the tables name, and the cell of each."""

from __future__ import annotations

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.presets import Preset

LABEL_SOLVE = "LS"
KIP_METHODS = {
    "KIP": (False, False),
    "KIP (l)": (True, False),
    "KIP (a)": (False, True),
    "KIP (a + l)": (True, True),
}
"""Name of the method: (labels are learned, targets are augmented)."""

NO_OPTIONS = {"config.random_architectures": None, "config.support_batch": None}
"""What a row of a published KIP cell has; the options of KIP stand in an appendix of Table 1."""

TEST_SHARE = 0.1
"""Of a KIP run's time, spent on scoring the test set along the way."""


def distilling_cell(
    method: str,
    dataset: str,
    images_per_class: int,
    budget: Preset,
    *,
    zca: bool,
    architecture: str = "ConvNet",
    kernel: str = "NTK",
) -> Cell:
    """The cell that distils `dataset` by `method`; other arguments as in `Cell`.

    Raises:
      UserError: unknown method.
    """
    name = (dataset, images_per_class, method)
    network = {"architecture": architecture, "kernel": kernel, "zca": zca, **budget.data}
    if method == LABEL_SOLVE:
        return Cell(*name, "label_solve", **network, learned_labels=True)
    if method not in KIP_METHODS:
        known = ", ".join(f'"{known}"' for known in (LABEL_SOLVE, *KIP_METHODS))
        raise UserError(f"unknown method {method!r}: choose from {known}")
    learned, augmented = KIP_METHODS[method]
    return Cell(
        *name,
        "kip",
        **network,
        learned_labels=learned,
        augmentation=Augmentation() if augmented else None,
        test_share=TEST_SHARE,
        **budget.kip,
    )
