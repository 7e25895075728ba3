"""Which covariance entries a network's readout needs, and what computing them costs.

Index the covariance of two images by pixel p of the first and offset d = p' - p. A 3x3
convolution with SAME padding keeps d, an activation is pointwise, and a 2x2 pool takes fine offsets
2 D + b - a, with a, b in {0, 1}^2, to the coarse offset D. Walking back from the readout
(Flatten: D = 0; global average pooling: all), a coarse range -r..r needs the fine range
-(2 r + 1)..(2 r + 1): for the paper's ConvNet at 32x32, 15^2 = 225 offsets at the first
resolution, 49 at the second, 9 at the third. neural-tangents carries all 63^2, 31^2 and 15^2.

Between two pools no offset needs another, so a plan is a list of segments, each a chain of
conv+activation that runs one offset at a time, and backends execute it.
"""

from __future__ import annotations

import dataclasses
import functools

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import Activation
from paper_repro.core.kernels.architecture import (
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
)

Radius = tuple[int, int]
"""Largest vertical and horizontal offset; -r..r are needed."""

# Multiplications and additions of one covariance entry and its tangent kernel, a fused
# multiply-add counted as two, as the numba backend does them in float32.
_BOX = 8
_POOL = 2
_READOUT = 4


@dataclasses.dataclass(frozen=True)
class Segment:
    """conv+activation repeated at one resolution, then a pool or the readout.

    Attributes:
      height, width: pixels.
      n_layers: number of conv+activation layers.
      activation: what follows each convolution.
      window: pixels across of each convolution.
      pool: pixels across of the average pool at its end; 1 for none.
      radius: offsets at which the covariance is needed.
      variance_radius: offsets at which an image's covariance with itself is needed, for the
        norms of this segment's and later layers.
    """

    height: int
    width: int
    n_layers: int
    activation: Activation
    window: int
    pool: int
    radius: Radius
    variance_radius: Radius

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self.height // self.pool

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self.width // self.pool

    @property
    def pool_pairs(self) -> int:
        """Entries of the covariance that its pool averages into one."""
        return self.pool**4

    @property
    def n_offsets(self) -> int:
        """Number of offsets."""
        return (2 * self.radius[0] + 1) * (2 * self.radius[1] + 1)

    @property
    def n_entries(self) -> int:
        """Pixel pairs within the image at those offsets, for each of the two kernels."""
        return _entries(self.height, self.radius[0]) * _entries(self.width, self.radius[1])


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a backend executes for one architecture and image shape.

    Attributes:
      architecture: what is planned.
      height, width, channels: the shape of the images.
      segments: the segments from the input to the readout.
      global_average: the readout averages over all pixel pairs, else over the pixels at
        offset 0 (Flatten).
    """

    architecture: Architecture
    height: int
    width: int
    channels: int
    segments: tuple[Segment, ...]
    global_average: bool

    @property
    def out_radius(self) -> Radius:
        """Offsets that the readout sums."""
        last = self.segments[-1]
        return (last.out_height - 1, last.out_width - 1) if self.global_average else (0, 0)

    @property
    def readout_weight(self) -> float:
        """Factor of the sum over the readout's entries, w_std^2 included."""
        last = self.segments[-1]
        n_pixels = last.out_height * last.out_width
        mean = n_pixels**2 if self.global_average else n_pixels
        return self.architecture.w_std**2 / (mean * last.pool_pairs)

    def input_weight(self, index: int) -> float:
        """Factor of the window sums of segment `index`'s input, which is not averaged yet.

        w^2 / window^2 / (channels of the image, or pairs of pixels in the pool before).
        """
        incoming = self.segments[index - 1].pool_pairs if index else self.channels
        return self.inner_weight(index) / incoming

    def inner_weight(self, index: int) -> float:
        """Factor of every other window sum of segment `index`: w^2 / window^2."""
        return self.architecture.w_std**2 / self.segments[index].window ** 2

    @property
    def activation(self) -> Activation | None:
        """The activation of all its segments; None where they differ."""
        first, *others = {s.activation for s in self.segments}
        return None if others else first

    @property
    def n_features(self) -> int:
        """Norms per image: one per pixel and layer."""
        return sum(s.n_layers * s.height * s.width for s in self.segments)

    def flops_per_pair(self, reverse: bool = False) -> int:
        """Additions and multiplications per image pair, forward or of the gradient.

        The gradient recomputes the forward pass.
        """
        times = 2 if reverse else 1
        flops = _READOUT
        for index, segment in enumerate(self.segments):
            phi = segment.activation
            pointwise = phi.flops_forward + (phi.flops_reverse if reverse else 0)
            each = segment.n_layers * (_BOX * times + pointwise)
            if index == 0:  # the first convolution is of products of pixels, a box in one array
                each += (2 * self.channels - _BOX // 2) * times
            if segment.pool > 1:
                each += _POOL * times
            flops += each * segment.n_entries
        return flops


@functools.lru_cache(maxsize=256)
def plan(architecture: Architecture, shape: tuple[int, ...]) -> Plan:
    """The plan of a convolutional architecture for images of `shape` (height, width, channels).

    Raises:
      UserError: the images are not (H, W, C), too small for the network's pools, or the layers
        are not stacks of conv+activation with pools between and Flatten or GlobalAvgPool, Dense
        last.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"{architecture.name} needs images (height, width, channels), got {shape}")
    height, width, _ = shape
    blocks, readout = stacks(architecture)
    sizes = []
    for n_layers, activation, pool in blocks:
        if min(height, width) < pool:
            raise UserError(
                f"{architecture.name} does not fit images of {shape[0]}x{shape[1]}: a "
                f"{pool}x{pool} pool meets {height}x{width} pixels; use a shallower network or "
                "larger images"
            )
        sizes.append((height, width, n_layers, activation, Conv.window, pool))
        height, width = height // pool, width // pool
    is_global = isinstance(readout, GlobalAvgPool)
    radius = (height - 1, width - 1) if is_global else (0, 0)
    variance_radius: Radius | None = None
    segments: list[Segment] = []
    for size in reversed(sizes):
        height, width, *_, pool = size
        radius = _walk_back(radius, (height, width), pool)
        variance_radius = (
            (0, 0) if variance_radius is None else _walk_back(variance_radius, size[:2], pool)
        )
        segments.insert(0, Segment(*size, radius, variance_radius))
    return Plan(architecture, *shape, tuple(segments), is_global)


def _walk_back(radius: Radius, size: tuple[int, int], pool: int) -> Radius:
    """Offsets that a segment needs so that its output has those of `radius`."""
    wanted = tuple(pool * r + pool - 1 for r in radius)
    return min(wanted[0], size[0] - 1), min(wanted[1], size[1] - 1)


def _entries(size: int, radius: int) -> int:
    """Pairs (p, p + d) inside `size` pixels with |d| <= radius."""
    return sum(size - abs(d) for d in range(-radius, radius + 1))


Stack = tuple[int, Activation, int]
"""Number of conv+activation, the activation, and the size of the pool that follows or 1."""


def stacks(architecture: Architecture) -> tuple[list[Stack], Flatten | GlobalAvgPool]:
    """The `Stack` of each segment, and the readout.

    Raises:
      UserError: no plan executes these layers, whatever the images; see `plan`.
    """
    body, end = architecture.layers[:-2], architecture.layers[-2:]
    readout = end[0] if len(end) == 2 else None
    supported = isinstance(readout, Flatten | GlobalAvgPool) and isinstance(end[1], Dense)
    blocks: list[Stack] = []
    chain: list[Activation] = []
    position = 0
    while supported and position < len(body):
        layer, following = body[position], (*body, None)[position + 1]
        if isinstance(layer, AvgPool) and chain:
            blocks.append((len(chain), chain[0], layer.size))
            chain = []
            position += 1
        elif isinstance(layer, Conv) and isinstance(following, Activation):
            chain.append(following)
            position += 2
        else:
            supported = False
        # Between two pools there is one activation.
        supported = supported and len(set(chain)) < 2
    if chain:
        blocks.append((len(chain), chain[0], 1))
    if not supported or not blocks:
        raise UserError(
            f"the layers of {architecture.name} are not stacks of conv+activation, with pools "
            "between, that end in Flatten or GlobalAvgPool and Dense: use "
            "backend='neural_tangents'"
        )
    return blocks, readout
