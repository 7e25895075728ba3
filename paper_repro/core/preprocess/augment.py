"""Augmentation of targets on raw images, before preprocessing.

The transformations of the official notebook (Keras style): rotation about the centre, shifts,
and for RGB a horizontal flip, composed into one affine map per image and sampled bilinearly with
the border repeated. The paper's ranges are not published with it; the defaults are ours.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    from paper_repro.core.preprocess import compiled
else:
    compiled = lazy.module("paper_repro.core.preprocess.compiled")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges of the random maps.

    Attributes:
      rotation: degrees, uniform in [-rotation, rotation].
      shift: largest move of height and width as a fraction of the side, uniform in [-shift, shift].
      flip: mirror half of the images left to right; ignored for one channel.
      fraction: the part of the images that is changed at all, in [0, 1].
    """

    rotation: float = 10.0
    shift: float = 0.1
    flip: bool = True
    fraction: float = 1.0

    def __post_init__(self):
        if not (0 <= self.fraction <= 1 and 0 <= self.shift < 1 and 0 <= self.rotation <= 180):
            raise UserError(
                "augmentation needs 0 <= fraction <= 1, 0 <= shift < 1 and 0 <= rotation <= 180, "
                f"got {self}"
            )

    def apply(
        self,
        images: np.ndarray,
        rng: np.random.Generator,
        rows: np.ndarray | None = None,
        of: int | None = None,
    ) -> np.ndarray:
        """Augmented copies of raw images.

        What becomes of an image depends on the generator and on its place alone, so a batch may be
        made in parts, wherever they are needed.

        Args:
          images: (n, H, W, C), raw pixels of any numeric dtype.
          rng: decides which images change and how; the same state gives the same result.
          rows: the places of `images` in a batch of `of` images, int64 (n,); None for the whole.
          of: the number of images in the batch.

        Returns:
          float32 (n, H, W, C), neither rounded nor clipped (bilinear values stay in range).

        Example:
          >>> images = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8, 1)
          >>> whole = Augmentation().apply(images, np.random.default_rng(0))
          >>> part = Augmentation().apply(images[[2]], np.random.default_rng(0), np.array([2]), 4)
          >>> np.array_equal(part, whole[[2]])
          True
        """
        _, height, width, channels = images.shape
        n = len(images) if of is None else of
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation, n))
        down = rng.uniform(-self.shift, self.shift, n) * height
        right = rng.uniform(-self.shift, self.shift, n) * width
        mirror = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        if not (self.flip and channels == 3):
            mirror[:] = 1.0
        changed = np.zeros(n, bool)
        changed[rng.permutation(n)[: round(self.fraction * n)]] = True
        out = np.empty(images.shape, np.float32)
        maps = [np.cos(angle), np.sin(angle), down, right, mirror]
        if rows is not None:
            changed, maps = changed[rows], [a[rows] for a in maps]
        images = np.ascontiguousarray(images)
        compiled.warp(images, changed, *(a.astype(np.float32) for a in maps), out)
        return out
