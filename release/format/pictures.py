"""Pictures of a released set: every image, and the labels as a heat map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paper_repro.core.pictures import image_grid, label_heatmap
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import write_atomic
from release.format import layout
from release.format.rows import png

CAPTIONED = 100
"""Up to so many images are drawn with their class names; more become a contact sheet."""


def draw(learned: LearnedSet, preview: np.ndarray, folder: Path) -> None:
    """Write the pictures of a set into a release folder.

    Args:
      learned: the set.
      preview: uint8 (n, H, W, C), its images through the inverse transform.
      folder: the release folder.
    """
    names = learned.record["class_names"]
    images = folder / layout.images_picture(learned.name)
    if len(preview) <= CAPTIONED and len(names) <= CAPTIONED:
        image_grid(preview, images, labels=learned.classes, class_names=names)
    else:
        write_atomic(images, png(contact_sheet(preview, learned.classes)))
    rows = [names[c] for c in learned.classes]
    label_heatmap(
        learned.labels, names, folder / layout.labels_picture(learned.name), row_names=rows
    )


ACROSS = 1280
"""Width of a sheet in pixels, about."""


def contact_sheet(preview: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """All images on white, ordered by class, at twice their size where that fits.

    Args:
      preview: uint8 (n, H, W, C).
      classes: (n,).

    Returns:
      uint8 (height, width, C).
    """
    order = np.argsort(classes, kind="stable")
    n, height, width, channels = preview.shape
    scale = 2 if n <= 500 else 1
    gap = 2
    cell_h, cell_w = scale * height + gap, scale * width + gap
    columns = max(1, ACROSS // cell_w)
    columns -= columns % 10 if columns > 10 else 0
    sheet = np.full(
        (-(-n // columns) * cell_h + gap, columns * cell_w + gap, channels), 255, np.uint8
    )
    for place, index in enumerate(order):
        top, left = gap + place // columns * cell_h, gap + place % columns * cell_w
        tile = preview[index].repeat(scale, 0).repeat(scale, 1)
        sheet[top : top + cell_h - gap, left : left + cell_w - gap] = tile
    return sheet
