"""What a run of a cell takes on two cores, from the measured throughput of the kernel."""

from __future__ import annotations

import math

from paper_repro.core.data import registry
from paper_repro.core.experiment.cell import Cell

_MS_PER_PAIR = {32: (0.11, 0.42), 28: (0.08, 0.31)}
"""By image side: a forward pass, and a forward pass with its gradient (`benchmark kernel`)."""


def needs(cell: Cell) -> str:
    """In words, for a ConvNet cell on an official data set: `9 min on two AVX-512 cores`.

    Cores without AVX-512 take two to three times as long. FC kernels take a small part of
    a millisecond for thousands of pairs, so that such cells need a minute or so.
    """
    dataset = registry.DATASETS[cell.dataset]
    forward, both = _MS_PER_PAIR[dataset.image_shape[0]]
    n = cell.images_per_class * len(dataset.class_names)
    if cell.architecture != "ConvNet":
        return "minutes on two cores"
    if cell.procedure == "label_solve":
        ms = n * (dataset.n_train + dataset.n_test) * forward
    else:
        ms = cell.steps * n * (n + cell.target_batch) * both + n * dataset.n_test * forward
    minutes = math.ceil(ms / 60_000)
    took = f"{minutes} min" if minutes < 90 else f"{minutes / 60:.0f} h"
    return f"{took} on two AVX-512 cores"
