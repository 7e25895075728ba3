"""Random maps of images: those of DSA, differentiable, and those of DC's evaluation on MNIST.

DSA (arXiv 2102.08259, section 3.2 and its appendix) draws one kind of map a step: color
(brightness, saturation and contrast), crop, cutout, flip, scale or rotate, with the ranges below.
`siamese` maps use one set of parameters for every image of a batch, and the same ones for each
batch that is given; otherwise every image has its own. Inputs are standardised images, which no
library of augmentations expects (kornia's color maps are of images in 0..1), so the maps are
written here, each a few lines on `grid_sample`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

KINDS = ("color", "crop", "cutout", "flip", "scale", "rotate")

_BRIGHTNESS, _SATURATION, _CONTRAST = 1.0, 2.0, 0.5
_SHIFT, _HOLE, _SCALE, _DEGREES = 0.125, 0.5, 1.2, 15.0
"""Ranges of DSA: shifts up to an eighth, holes of half the side, scales 1/1.2 to 1.2."""

Map = Callable[[torch.Tensor], torch.Tensor]
"""From images (n, C, H, W) to images of that shape, differentiable."""


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnMap:
    """A map with its parameters, numbers in 0..1 that each kind takes as it needs.

    Attributes:
      kind: one of `KINDS`.
      parameters: float64 (m, 3): a row for every image, or one row for all.
    """

    kind: str
    parameters: np.ndarray

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The images mapped, of the same shape and dtype."""
        u = torch.as_tensor(self.parameters, dtype=x.dtype, device=x.device)
        if len(u) == 1:
            u = u.expand(len(x), -1)
        return _MAPS[self.kind](x, u)


def draw(rng: np.random.Generator, n: int | None = None, flips: bool = True) -> DrawnMap:
    """One of DSA's maps, its kind drawn uniformly.

    Args:
      rng: decides the kind and the parameters.
      n: parameters for so many images; None for the same ones for all (siamese).
      flips: whether a flip is among them; of digits it is not.

    Example:
      >>> one = draw(np.random.default_rng(0))
      >>> x = torch.zeros(2, 3, 8, 8)
      >>> one(x).shape
      torch.Size([2, 3, 8, 8])
    """
    kinds = [kind for kind in KINDS if flips or kind != "flip"]
    kind = kinds[int(rng.integers(len(kinds)))]
    return DrawnMap(kind, rng.random((1 if n is None else n, 3)))


def _each(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _color(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    x = x + _each(u[:, 0] - 0.5) * _BRIGHTNESS
    gray = x.mean(1, keepdim=True)
    x = gray + (x - gray) * _each(u[:, 1] * _SATURATION)
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (x - level) * _each(u[:, 2] + _CONTRAST)


def _shifts(x: torch.Tensor, u: torch.Tensor, share: float) -> torch.Tensor:
    """Whole pixels (n, 2) within the share of each side."""
    sides = torch.tensor(x.shape[2:], dtype=x.dtype, device=x.device)
    most = torch.floor(sides * share + 0.5)
    return torch.clamp(torch.floor(u[:, :2] * (2 * most + 1)) - most, -most, most)


def _crop(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Shifted by whole pixels, zeros coming in."""
    height, width = x.shape[2:]
    down, right = _shifts(x, u, _SHIFT).long().T
    rows = torch.arange(height, device=x.device) + down[:, None]
    columns = torch.arange(width, device=x.device) + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None]
    inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
    n = torch.arange(len(x), device=x.device)[:, None, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    # Images last but one, so that one index picks all channels of a pixel.
    moved = x.permute(0, 2, 3, 1)[n, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2) * inside[:, None]


def _cutout(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """A square of half the side at a random place, which may leave the image, is zero."""
    keep = None
    for axis, side in enumerate(x.shape[2:]):
        hole = int(side * _HOLE + 0.5)
        middle = torch.floor(u[:, axis] * (side + 1 - hole % 2)).clamp(max=side - hole % 2)
        first = (middle - hole // 2)[:, None]
        place = torch.arange(side, device=x.device)
        inside = (place >= first) & (place < first + hole)
        keep = inside[:, :, None] if keep is None else keep & inside[:, None, :]
    return x * ~keep[:, None]


def _flip(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    return torch.where(_each(u[:, 0]) < 0.5, x.flip(3), x)


def _affine(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Images at the places that 2x2 matrices (n, 2, 2) make of each pixel's, bilinear."""
    still = torch.zeros(len(x), 2, 1, dtype=x.dtype, device=x.device)
    grid = functional.affine_grid(torch.cat([matrix, still], 2), x.shape, align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def _scaling(u: torch.Tensor) -> torch.Tensor:
    factors = u[:, :2] * (_SCALE - 1 / _SCALE) + 1 / _SCALE
    return torch.diag_embed(factors)


def _rotation(u: torch.Tensor, degrees: float) -> torch.Tensor:
    angle = torch.deg2rad((u[:, 0] - 0.5) * 2 * degrees)
    rows = [torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)]
    return torch.stack(rows, 1).reshape(-1, 2, 2)


_MAPS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": lambda x, u: _affine(x, _scaling(u)),
    "rotate": lambda x, u: _affine(x, _rotation(u, _DEGREES)),
}


_DC_PIXELS, _DC_SCALE, _DC_DEGREES = 4, 0.2, 45.0


def draw_dc(rng: np.random.Generator, n: int) -> Map:
    """DC's maps of digits in evaluation: each image is cropped, scaled or rotated.

    Crops shift by up to four pixels, scales are 0.8 to 1.2 for each side, rotations up to 45
    degrees; what comes in repeats the border. All three are one affine map with whole-image
    bilinear interpolation (the authors' code resizes and rotates with three libraries).

    Args:
      rng: decides kinds and parameters.
      n: the number of images that the map is for.
    """
    kind, u = rng.integers(3, size=n), rng.uniform(-1, 1, (n, 2))

    def change(x: torch.Tensor) -> torch.Tensor:
        scale, angle = 1 / (1 + _DC_SCALE * u), np.deg2rad(_DC_DEGREES) * u[:, 0]
        turned = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
        matrices = (
            np.tile(np.eye(2), (n, 1, 1)),
            scale[:, :, None] * np.eye(2),
            np.stack(turned, 1).reshape(n, 2, 2),
        )
        matrix = np.choose(kind[:, None, None], matrices)
        pixels = np.rint((_DC_PIXELS + 0.5) * u * (1 - 1e-9))
        shift = np.where(kind[:, None] == 0, 2 * pixels / [x.shape[3], x.shape[2]], 0.0)
        theta = torch.as_tensor(np.concatenate([matrix, shift[:, :, None]], 2), dtype=x.dtype)
        grid = functional.affine_grid(theta.to(x.device), x.shape, align_corners=False)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)

    return change
