"""Grids of images, enlarged pixel by pixel, with a caption each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.pictures.canvas import DPI, literal, new_figure, save

# In pixels of the picture: whole numbers, so that each image pixel becomes a square of its own.
TILE, GAP, LINE, MARGIN, SIDE, TITLE = 96, 12, 20, 16, 76, 36
FONT_SIZE = 7.5
CAPTION_LENGTH = 13  # characters of FONT_SIZE above one tile; longer ones are set smaller
MAX_TILES = 400
COLUMNS = 10  # images in a row


def image_grid(
    images: np.ndarray,
    path: Path | str,
    *,
    captions: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Write a grid of images.

    With `labels`, every class is one column (of at most ten, then the next block of rows
    begins), headed by its name, its images below each other in their order. Without, the images
    run from left to right. Beyond 400 images only the first are drawn and the title says so.

    Args:
      images: (n, H, W), (n, H, W, 1) or (n, H, W, 3); uint8, or floats that are clipped to [0, 1].
      path: the PNG to write.
      captions: n texts under the images.
      labels: (n,) class numbers.
      class_names: the names behind `labels`; their numbers when None.
      title: a line above the grid.

    Raises:
      ValueError: another shape, not as many captions or labels as images, or NaN.
      OSError: the file cannot be written.
    """
    pixels = displayable(images)
    for name, given in (("captions", captions), ("labels", labels)):
        if given is not None and len(given) != len(pixels):
            raise ValueError(f"{len(given)} {name} for {len(pixels)} images")
    if len(pixels) > MAX_TILES:
        note = f"the first {MAX_TILES} of {len(pixels)} images"
        title = f"{title} ({note})" if title else note[0].upper() + note[1:]
        pixels = pixels[:MAX_TILES]
        labels = None if labels is None else labels[:MAX_TILES]
    if labels is None:
        rows = [
            list(range(i, min(i + COLUMNS, len(pixels)))) for i in range(0, len(pixels), COLUMNS)
        ]
        heads: list[list[str]] = [[] for _ in rows]
    else:
        rows, heads = _by_class(np.asarray(labels), class_names)
    return _draw(pixels, rows, heads, captions, title, path)


def before_after(
    before: np.ndarray,
    after: np.ndarray,
    path: Path | str,
    *,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Write pairs of images, `before` above `after`, ten pairs side by side.

    Args:
      before: images as in `image_grid`, such as the natural images a run started from.
      after: the learned images, as many.
      path: the PNG to write.
      captions: a text for each pair, above it.
      title: a line above the grid.

    Raises:
      ValueError: the shapes differ, or as in `image_grid`.
      OSError: the file cannot be written.
    """
    first, second = displayable(before), displayable(after)
    if first.shape != second.shape:
        raise ValueError(f"images before {first.shape} and after {second.shape} do not pair up")
    n = min(len(first), MAX_TILES // 2)
    pixels = np.concatenate([first[:n], second[:n]])
    rows, heads, sides = [], [], []
    for start in range(0, n, COLUMNS):
        pairs = list(range(start, min(start + COLUMNS, n)))
        rows += [pairs, [n + i for i in pairs]]
        heads += [[captions[i] for i in pairs] if captions is not None else [], []]
        sides += ["natural", "learned"]
    return _draw(pixels, rows, heads, None, title, path, sides)


def displayable(images: np.ndarray) -> np.ndarray:
    """uint8 RGB (n, H, W, 3) of gray or RGB images, uint8 or float; see `image_grid`.

    Raises:
      ValueError: the shape is not that of images, or a value is NaN.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"images of shape {images.shape} cannot be drawn; want (n, H, W, 1 or 3)")
    if images.dtype != np.uint8:
        values = images.astype(np.float64)
        if np.isnan(values).any():
            raise ValueError("the images hold NaN")
        images = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _by_class(
    labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[list[list[int]], list[list[str]]]:
    """Rows of image numbers (-1 for a hole) and the heads above the first row of each block."""
    classes = np.unique(labels)
    rows: list[list[int]] = []
    heads: list[list[str]] = []
    for start in range(0, len(classes), COLUMNS):
        block = classes[start : start + COLUMNS]
        members = [np.flatnonzero(labels == c) for c in block]
        for k in range(max(len(m) for m in members)):
            rows.append([int(m[k]) if k < len(m) else -1 for m in members])
            heads.append(
                [str(c if class_names is None else class_names[c]) for c in block] if k == 0 else []
            )
    return rows, heads


def _draw(
    pixels: np.ndarray,
    rows: list[list[int]],
    heads: list[list[str]],
    captions: Sequence[str] | None,
    title: str,
    path: Path | str,
    sides: Sequence[str] = (),
) -> Path:
    height, width = pixels.shape[1:3]
    scale = max(1, round(TILE / width))
    tile_w, tile_h = scale * width, scale * height
    step = max(tile_w, TILE) + GAP
    left = MARGIN + (SIDE if sides else 0)
    below = LINE if captions is not None else 0
    above = [LINE if head else 0 for head in heads]
    room = CAPTION_LENGTH * (step - GAP) / TILE
    texts = [*(captions or ()), *(text for head in heads for text in head)]
    font = _font_size(texts, room)
    total_w = left + max(len(r) for r in rows) * step - GAP + MARGIN
    total_h = (
        (TITLE if title else 0) + sum(above) + len(rows) * (tile_h + GAP + below) - GAP + 2 * MARGIN
    )
    total_w = max(total_w, 2 * MARGIN + 10 * len(title))
    figure = new_figure(total_w / DPI, total_h / DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    y = MARGIN
    if title:
        axes.text(left, y + 8, literal(title), fontsize=10, weight="bold", va="center")
        y += TITLE
    for index, row in enumerate(rows):
        y += above[index]
        if sides:
            axes.text(
                left - 10, y + tile_h / 2, sides[index], ha="right", va="center", fontsize=FONT_SIZE
            )
        for column, image in enumerate(row):
            x = left + column * step
            middle = x + tile_w / 2
            if heads[index]:
                head = _cut(heads[index][column], room, font)
                axes.text(middle, y - 4, head, ha="center", va="bottom", fontsize=font)
            if image < 0:
                continue
            axes.imshow(
                pixels[image],
                extent=(x, x + tile_w, y + tile_h, y),
                interpolation="nearest",
                aspect="auto",
            )
            if captions is not None:
                text = _cut(captions[image], room, font)
                axes.text(middle, y + tile_h + 4, text, ha="center", va="top", fontsize=font)
        y += tile_h + GAP + below
    axes.set(xlim=(0, total_w), ylim=(total_h, 0))
    return save(figure, path, tight=False)


def _font_size(texts: Sequence[str], room: float) -> float:
    """One size for all captions, small enough for the longest, never below 5.5 points."""
    longest = max((len(text) for text in texts), default=0)
    return FONT_SIZE if longest <= room else max(5.5, FONT_SIZE * room / longest)


def _cut(text: str, room: float, size: float) -> str:
    longest = int(room * FONT_SIZE / size)
    return literal(text if len(text) <= longest else text[: longest - 1] + "…")
