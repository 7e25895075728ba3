"""What a run of a cell takes on two cores, estimated from measured time per pair of images."""

from __future__ import annotations

import math

from paper_repro.core.data import registry
from paper_repro.core.runs.cell import Cell

_MS_PER_PAIR = {32: (0.11, 0.55), 28: (0.08, 0.41)}
"""By image side: a forward pass (`benchmark kernel`) and all of a KIP step (of a run with 100
supports; of 28x28 images in proportion to the forward passes)."""


def needs(cell: Cell) -> str:
    """In words, for a ConvNet cell on an official data set: `about 9 min on two AVX-512 cores`.

    Cores without AVX-512 take two to three times as long.
    """
    if cell.architecture != "ConvNet":
        return "minutes at `--preset laptop`, 30 minutes or more at `--preset paper` (two cores)"
    dataset = registry.DATASETS[cell.dataset]
    forward, both = _MS_PER_PAIR[dataset.image_shape[0]]
    n = cell.images_per_class * len(dataset.class_names)
    pairs = cell.method_object.pairs(cell.config, n, dataset.n_train)
    ms = pairs.updates * both + (pairs.scored + n * dataset.n_test) * forward
    minutes = math.ceil(ms / 60_000)
    took = f"{minutes} min" if minutes < 90 else f"{minutes / 60:.0f} h"
    return f"about {took} on two AVX-512 cores"
