"""A plan as the arrays of numbers that compiled code reads, and the arrays that it works in."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from paper_repro.core.kernels.lanes import BYTES
from paper_repro.core.kernels.plan import Plan

# Columns of `Network.segments`.
HEIGHT, WIDTH, N_LAYERS, RADIUS_Y, RADIUS_X, POOLS = range(6)
OUT_HEIGHT, OUT_WIDTH, OUT_RADIUS_Y, OUT_RADIUS_X = range(6, 10)
FIRST_LAYER, TILES, READOUT = range(10, 13)
N_COLUMNS = 13

RING = 4
"""Rows of a ring: three, and one of zeros for the rows beyond the tile."""


class Network(NamedTuple):
    """Numbers of one plan in one dtype.

    Attributes:
      segments: int64 (n_segments, N_COLUMNS); `FIRST_LAYER` is the segment's first layer, `TILES`
        where its input tiles start in the arrays of all segments' tiles, in elements.
      weights: (n_layers,), the factor of the 3x3 sums before each activation.
      starts: int64 (n_layers,), where each layer starts among an image's norms.
      activation: the numba form of the activation.
      b_variance, readout: b_std^2 and the factor of the readout's sum, of the dtype.
      channels, n_pixels, n_features: of an image.
      lanes: targets in one group.
      row_size: elements of one row buffer, the widest row in lanes.
      tile_pixels: pixels of the largest segment.
    """

    segments: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    activation: Any
    b_variance: Any
    readout: Any
    channels: int
    n_pixels: int
    n_features: int
    lanes: int
    row_size: int
    tile_pixels: int


class Side(NamedTuple):
    """Images on one side, flat: the leading ones, or the targets in lanes.

    Leading: pixels (n, H, W, C), the others (n, n_features). Targets: pixels (groups, H, W, C,
    lanes), the others (groups, n_features, lanes); their scale and shift are empty.

    Attributes:
      pixels: the images.
      norm, inverse: what each pixel contributes to a correlation, and 1 / norm (0 for 0).
      scale, shift: weight / norm and b^2 / norm of each layer.
    """

    pixels: np.ndarray
    norm: np.ndarray
    inverse: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class At(NamedTuple):
    """Where a pair is in the arrays of its `Side`s: first pixels and first norms."""

    pixels1: int
    norms1: int
    pixels2: int
    norms2: int


class Scratch(NamedTuple):
    """Arrays that a task works in, flat; `k` the covariance, `u` with the tangent kernel.

    Attributes:
      tiles_k, tiles_u: input tiles of all segments but the first, (offsets, H, W, lanes) each.
      sum_k, sum_u: (3, lanes), sums of the readout: those of a row or of all, and of a global
        average those of all rows and what they rounded off; or, first, their adjoints.
      ring_k, ring_u: rows on their way through the layers, (n_layers, RING, W, lanes).
    """

    tiles_k: np.ndarray
    tiles_u: np.ndarray
    sum_k: np.ndarray
    sum_u: np.ndarray
    ring_k: np.ndarray
    ring_u: np.ndarray


class Kept(NamedTuple):
    """What the reverse mode keeps and collects, flat.

    Attributes:
      c, t: correlation and tangent kernel that enter the layers of a tile, (n_layers, H, W, lanes).
      d_pixels, d_norms: gradient of the image, (H, W, C, lanes), and of its norms,
        (n_features, lanes).
    """

    c: np.ndarray
    t: np.ndarray
    d_pixels: np.ndarray
    d_norms: np.ndarray


class Row(NamedTuple):
    """One row of one layer of a tile.

    Attributes:
      above, here, below: where the rows that a 3x3 sum reads start in the rings.
      out: where the row that it makes starts.
      width: pixels of the row; `active`: those whose outputs are used.
      norms1, norms2: where the norms of its first pixel are, on both sides.
      kept: where its first pixel is in `Kept.c`; `d_norms`: in `Kept.d_norms`.
      weight: factor of the 3x3 sums.
    """

    above: int
    here: int
    below: int
    out: int
    width: int
    active: int
    norms1: int
    norms2: int
    kept: int
    d_norms: int
    weight: Any


class Target(NamedTuple):
    """Where the last layer of a segment adds its row: pooled tiles, or the readout's sums.

    Attributes:
      k, u: the arrays.
      x0: column of the row's first pixel.
      even, odd: where the entries of even and of odd columns go, less the column; -1 for nowhere.
      shift: a column is divided by 2^shift, that is pooled.
      step: elements from one output column to the next.
    """

    k: np.ndarray
    u: np.ndarray
    x0: int
    even: int
    odd: int
    shift: int
    step: int


class VarianceScratch(NamedTuple):
    """Arrays that a task of the variances works in.

    Attributes:
      tiles, d_tiles: flat, as `Scratch.tiles_k`; and their adjoints.
      work: (2, H * W * lanes), a tile and its partial sums.
      before: (n_layers, H * W * lanes), what enters each layer of a segment.
    """

    tiles: np.ndarray
    d_tiles: np.ndarray
    work: np.ndarray
    before: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tables:
    """What is computed once for a plan and a dtype.

    Attributes:
      network: the numbers for pairs of images; `variance`: for an image with itself.
      tile_size, variance_tile_size: elements of all segments' input tiles.
      max_layers: largest number of layers of a segment.
    """

    network: Network
    variance: Network
    tile_size: int
    variance_tile_size: int
    max_layers: int

    def scratch(self) -> Scratch:
        """Room for one thread's tasks on pairs."""
        net = self.network
        tiles = [self.zeros(self.tile_size) for _ in range(2)]
        sums = [self.zeros(3 * net.lanes) for _ in range(2)]
        # One array for both: where the two stand to one another in the cache counts.
        rings = self.zeros(2 * self.max_layers * RING * net.row_size)
        return Scratch(*tiles, *sums, *np.split(rings, 2))

    def kept(self) -> Kept:
        """Room for one thread's reverse mode."""
        net = self.network
        both = self.zeros(2 * self.max_layers * net.tile_pixels * net.lanes)
        return Kept(
            *np.split(both, 2),
            self.zeros(net.n_pixels * net.channels * net.lanes),
            self.zeros(net.n_features * net.lanes),
        )

    def variance_scratch(self) -> VarianceScratch:
        """Room for one thread's variances."""
        size = self.network.tile_pixels * self.network.lanes
        return VarianceScratch(
            self.zeros(self.variance_tile_size),
            self.zeros(self.variance_tile_size),
            self.zeros(2 * size).reshape(2, size),
            self.zeros(self.max_layers * size).reshape(self.max_layers, size),
        )

    def zeros(self, size: int) -> np.ndarray:
        """Zeros that start on a cache line, which vector loads need for speed."""
        dtype = self.network.weights.dtype
        raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        return raw[start : start + size * dtype.itemsize].view(dtype)


def tables(plan: Plan, dtype: np.dtype) -> Tables:
    """The tables of `plan`, whose activation has a numba form."""
    lanes = BYTES // dtype.itemsize
    weights, starts, position = [], [], 0
    for index, segment in enumerate(plan.segments):
        for layer in range(segment.n_layers):
            weights.append(plan.input_weight(index) if layer == 0 else plan.inner_weight(index))
            starts.append(position)
            position += segment.height * segment.width
    segments, tile_size = _segments(plan, [s.radius for s in plan.segments], lanes)
    variance_segments, variance_tile_size = _segments(
        plan, [s.variance_radius for s in plan.segments], lanes
    )
    network = Network(
        segments=segments,
        weights=np.array(weights, dtype),
        starts=np.array(starts, np.int64),
        activation=plan.activation.numba_form(dtype),
        b_variance=dtype.type(plan.architecture.b_std**2),
        readout=dtype.type(plan.readout_weight),
        channels=plan.channels,
        n_pixels=plan.height * plan.width,
        n_features=plan.n_features,
        lanes=lanes,
        row_size=max(s.width for s in plan.segments) * lanes,
        tile_pixels=max(s.height * s.width for s in plan.segments),
    )
    return Tables(
        network=network,
        variance=network._replace(segments=variance_segments),
        tile_size=tile_size,
        variance_tile_size=variance_tile_size,
        max_layers=max(s.n_layers for s in plan.segments),
    )


def _segments(plan: Plan, radii: list[tuple[int, int]], lanes: int) -> tuple[np.ndarray, int]:
    table = np.zeros((len(plan.segments), N_COLUMNS), np.int64)
    first_layer = tiles = 0
    for index, (segment, radius) in enumerate(zip(plan.segments, radii, strict=True)):
        last = index == len(plan.segments) - 1
        out_radius = plan.out_radius if last else radii[index + 1]
        table[index] = (
            segment.height,
            segment.width,
            segment.n_layers,
            *radius,
            segment.pool == 2,
            segment.out_height,
            segment.out_width,
            *out_radius,
            first_layer,
            tiles,
            last,
        )
        first_layer += segment.n_layers
        if index:
            n_offsets = (2 * radius[0] + 1) * (2 * radius[1] + 1)
            tiles += n_offsets * segment.height * segment.width * lanes
    # `TILES` of segment i is where its own input starts; the first segment has none.
    return table, tiles
