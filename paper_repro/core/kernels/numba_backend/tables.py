"""A plan as the arrays of numbers that compiled code reads."""

from __future__ import annotations

import dataclasses

import numpy as np

from paper_repro.core.kernels.numba_backend.lanes import BYTES
from paper_repro.core.kernels.plan import Plan

# Columns of `Tables.segments`.
HEIGHT, WIDTH, N_RELU, RADIUS_Y, RADIUS_X, POOLS = range(6)
OUT_HEIGHT, OUT_WIDTH, OUT_RADIUS_Y, OUT_RADIUS_X = range(6, 10)
FIRST_RELU, TILES, READOUT = range(10, 13)
N_COLUMNS = 13


@dataclasses.dataclass(frozen=True)
class Tables:
    """Numbers of one plan in one dtype.

    Attributes:
      segments: int64 (n_segments, N_COLUMNS); `FIRST_RELU` is the segment's first ReLU layer,
        `TILES` where its input tiles start in the arrays of all segments' tiles, in elements.
      variance_segments: the same for an image's covariance with itself.
      weights: (n_relu,), the factor of the 3x3 sums before each ReLU.
      starts: int64 (n_relu,), where each ReLU layer starts among an image's standard deviations.
      constants: b_std^2, the readout's factor, and the correlation threshold.
      tile_size, variance_tile_size: elements of all segments' input tiles.
      row_size: elements of one row buffer.
      max_relu, max_pixels: largest number of ReLUs and of pixels of a segment.
      n_pixels, channels, n_features: of an image.
    """

    segments: np.ndarray
    variance_segments: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    constants: np.ndarray
    tile_size: int
    variance_tile_size: int
    row_size: int
    max_relu: int
    max_pixels: int
    n_pixels: int
    channels: int
    n_features: int


def tables(plan: Plan, dtype: np.dtype, threshold: float) -> Tables:
    """The tables of `plan`; `threshold` is the largest 1 - |c| that counts as coincidence."""
    lanes = BYTES // dtype.itemsize
    weights, starts, position = [], [], 0
    for index, segment in enumerate(plan.segments):
        for layer in range(segment.n_relu):
            weights.append(plan.input_weight(index) if layer == 0 else plan.inner_weight)
            starts.append(position)
            position += segment.height * segment.width
    segments, tile_size = _segments(plan, [s.radius for s in plan.segments], lanes)
    variance_segments, variance_tile_size = _segments(
        plan, [s.variance_radius for s in plan.segments], lanes
    )
    b_variance = plan.architecture.b_std**2
    return Tables(
        segments=segments,
        variance_segments=variance_segments,
        weights=np.array(weights, dtype),
        starts=np.array(starts, np.int64),
        constants=np.array([b_variance, plan.readout_weight, threshold], dtype),
        tile_size=tile_size,
        variance_tile_size=variance_tile_size,
        row_size=max(s.width for s in plan.segments) * lanes,
        max_relu=max(s.n_relu for s in plan.segments),
        max_pixels=max(s.height * s.width for s in plan.segments),
        n_pixels=plan.height * plan.width,
        channels=plan.channels,
        n_features=plan.n_features,
    )


def _segments(plan: Plan, radii: list[tuple[int, int]], lanes: int) -> tuple[np.ndarray, int]:
    table = np.zeros((len(plan.segments), N_COLUMNS), np.int64)
    first_relu = tiles = 0
    for index, (segment, radius) in enumerate(zip(plan.segments, radii, strict=True)):
        last = index == len(plan.segments) - 1
        out_radius = plan.out_radius if last else radii[index + 1]
        table[index] = (
            segment.height,
            segment.width,
            segment.n_relu,
            *radius,
            segment.pools,
            segment.out_height,
            segment.out_width,
            *out_radius,
            first_relu,
            tiles,
            last,
        )
        first_relu += segment.n_relu
        if index:
            n_offsets = (2 * radius[0] + 1) * (2 * radius[1] + 1)
            tiles += n_offsets * segment.height * segment.width * lanes
    # `TILES` of segment i is where its own input starts; the first segment has none.
    return table, tiles
