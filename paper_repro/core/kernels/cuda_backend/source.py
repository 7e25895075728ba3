"""The program of one plan: its constants in front of the sources that lie beside this file."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from paper_repro.core.kernels.activations import ReLU
from paper_repro.core.kernels.activations.arccosine import INVERSE_TWO_PI, P, T, coincident
from paper_repro.core.kernels.plan import Plan, Segment

_FILES = ("lanes.h", "ntk.h", "reverse.h", "entry.h")
_FORWARD = ("pack", "forward")
_REVERSE = ("reverse", "fold")
MAX_COLUMNS = 32
"""Columns of an image: half a warp, two columns a lane."""

REVERSE_WARPS = 20
"""Warps of a block in reverse; on an H100 at 32x32x3 faster than 16 by 4 %, than 24 by 17 %."""


@dataclasses.dataclass(frozen=True)
class Program:
    """Source text of one plan in one dtype, and the sizes its callers need.

    Attributes:
      text: C++ of everything, to compile by NVRTC or by a host compiler.
      image_size: numbers of one packed image.
      features: standard deviations of one image, as `prepare` computes them.
      forward_warps, reverse_warps: of a block.
      forward_bytes, reverse_bytes: dynamic shared memory of a block.
      gradient_size: numbers of one image's gradient, pixels and standard deviations.
    """

    text: str
    image_size: int
    features: int
    forward_warps: int
    reverse_warps: int
    forward_bytes: int
    reverse_bytes: int
    gradient_size: int

    def warps(self, name: str) -> int:
        """Warps of a block of the kernel `name`."""
        return self.reverse_warps if name in _REVERSE else self.forward_warps

    def shared_bytes(self, name: str) -> int:
        """Dynamic shared memory of a block of the kernel `name`."""
        return {"forward": self.forward_bytes, "reverse": self.reverse_bytes}.get(name, 0)

    def kernels(self, name: str) -> tuple[str, ...]:
        """The kernels of the unit that has `name`."""
        return _REVERSE if name in _REVERSE else _FORWARD

    def unit(self, name: str) -> str:
        """The translation unit that has the kernel `name`: one has all of a pass."""
        head = f"#define PASS {int(name in _REVERSE)}\n#define WARPS {self.warps(name)}\n"
        return head + self.text


def refusal(plan: Plan, dtype: np.dtype) -> str | None:
    """Why these kernels do not execute `plan`; None if they do."""
    if plan.activation != ReLU():
        return "activations other than ReLU"
    if any(s.window != 3 or s.pool not in (1, 2) for s in plan.segments):
        return "convolutions other than 3x3, or pools other than 2x2"
    if plan.global_average:
        return "global average pooling needs all offsets of the last layers"
    if plan.width > MAX_COLUMNS:
        return f"images wider than {MAX_COLUMNS} columns"
    if any(s.n_layers > 1 for s in plan.segments[1:]):
        return "more than one convolution between two pools"
    program_ = program(plan, np.dtype(dtype))
    if max(program_.forward_bytes, program_.reverse_bytes) > SHARED_BYTES:
        return "the covariance of a pair does not fit the shared memory of a block"
    return None


SHARED_BYTES = 232_448
"""Shared memory that a block may have on Hopper, in bytes."""


@functools.lru_cache(maxsize=64)
def program(plan: Plan, dtype: np.dtype) -> Program:
    """The program of a plan that `refusal` does not refuse."""
    size = dtype.itemsize
    first, later = plan.segments[0], plan.segments[1:]
    planes = plan.channels + first.n_layers
    later_at = planes * first.height * 33 * 2
    later_features = sum(s.height * s.width for s in later)
    image_size = -(-(later_at + later_features) // 32) * 32
    layout = _Layout(plan)
    is_double = size == 8
    slots = (2 * first.radius[0] + 3) // 3 * ((first.radius[1] + 2) // 2)
    forward_warps = min(10, max(1, slots))
    n_pairs = first.radius[1] + 1
    n_slots = (2 * first.radius[0] + 1) * n_pairs
    period = first.height + 2 * first.n_layers
    reverse_warps = max(1, min(REVERSE_WARPS, n_slots, period))
    numbers = {
        "H": first.height,
        "W": first.width,
        "CHANNELS": plan.channels,
        "N": first.n_layers,
        "RY": first.radius[0],
        "RX": first.radius[1],
        "POOLS": int(first.pool > 1),
        "SEGMENTS": len(plan.segments),
        "OUT_RY": layout.out_radius[0][0],
        "OUT_RX": layout.out_radius[0][1],
        "OUT_STRIDE": layout.out_stride[0],
        "FIRST_TILES": layout.starts[1],
        "ALL_TILES": layout.starts[-1],
        "READOUT_TILES": layout.starts[-2],
        "READOUT_CELLS": plan.segments[-1].out_height * plan.segments[-1].out_width,
        "FEATURES_IN": plan.n_features,
        "IMAGE_SIZE": image_size,
    }
    gradient_size = plan.height * plan.width * plan.channels + plan.n_features
    # Pixels and deviations of the first segment in rows of 32 columns, then later deviations.
    sums = planes * first.height * 32 + later_features
    batch = 32 * reverse_warps
    # Adjoints and, of half the size, those of the deviations.
    cells = max([_batch(s, batch) * s.height * s.width for s in later], default=0)
    scratch = cells + -(-cells // 2)
    reverse_bytes = (2 * (layout.starts[-1] + scratch) + sums + sums % 2) * size
    numbers |= {
        "GRADIENT_SIZE": gradient_size,
        "SUMS": sums,
        "SCRATCH": scratch,
    }
    reals = {
        "B_VARIANCE": plan.architecture.b_std**2,
        "W_FIRST": plan.input_weight(0),
        "W_INNER": plan.inner_weight(0),
        "W_POOLED": plan.inner_weight(0) / 16,
        "READOUT_WEIGHT": plan.readout_weight,
        "THRESHOLD": coincident(dtype),
        # What stands for a deviation of zero, whose square is in range, and the largest product of
        # it and any other that the scaling of images leaves.
        "TINY": 1e-150 if is_double else 1.2e-19,
        "SMALL": 1e-110 if is_double else 2e-14,
        "INVERSE_TWO_PI": INVERSE_TWO_PI,
    }
    name = "double" if is_double else "float"
    lines = [f"typedef {name} REAL;", f"#define REAL_BYTES {size}"]
    lines += [f"#define {key} {value!r}" for key, value in reals.items()]
    lines += [f"#define FORWARD_BLOCKS {1 if is_double else 2}"]
    constants = [f"constexpr int {key} = {value};" for key, value in numbers.items()]
    constants += ["template <int S> struct Segment;"]
    constants += [layout.struct(index, batch) for index in range(1, len(plan.segments))]
    constants += _polynomial("polynomial_p", P[dtype.name])
    constants += _polynomial("polynomial_t", T[dtype.name])
    lanes, *rest = (_read(file) for file in _FILES)
    text = "\n".join([*lines, lanes, *constants, *rest])
    return Program(
        text=text,
        image_size=image_size,
        features=plan.n_features,
        forward_warps=forward_warps,
        reverse_warps=reverse_warps,
        forward_bytes=2 * layout.starts[-1] * size,
        reverse_bytes=reverse_bytes,
        gradient_size=gradient_size,
    )


class _Layout:
    """Where the tiles of every segment's output lie in shared memory, in cells."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.out_radius = [s.radius for s in plan.segments[1:]] + [plan.out_radius]
        self.out_stride, self.starts = [], [0]
        for segment, (ry, rx) in zip(plan.segments, self.out_radius, strict=True):
            cells = segment.out_height * segment.out_width
            # Neighbouring offsets lie half the banks apart: the two columns of a lane at odd dx.
            stride = cells + (8 - cells) % 16 if (ry, rx) != (0, 0) else cells
            self.out_stride.append(stride)
            self.starts.append(self.starts[-1] + (2 * ry + 1) * (2 * rx + 1) * stride)

    def struct(self, index: int, threads: int) -> str:
        """Constants of a later segment as C++."""
        segment = self.plan.segments[index]
        out_ry, out_rx = self.out_radius[index]
        first = self.plan.segments[0]
        features = sum(s.height * s.width for s in self.plan.segments[1:index])
        planes = self.plan.channels + first.n_layers
        values = {
            "HEIGHT": segment.height,
            "WIDTH": segment.width,
            "RADIUS_Y": segment.radius[0],
            "RADIUS_X": segment.radius[1],
            "STRIDE": self.out_stride[index - 1],
            "TILES": self.starts[index - 1],
            "POOL": int(segment.pool > 1),
            "OUT_HEIGHT": segment.out_height,
            "OUT_WIDTH": segment.out_width,
            "OUT_RADIUS_Y": out_ry,
            "OUT_RADIUS_X": out_rx,
            "OUT_STRIDE_": self.out_stride[index],
            "OUT_TILES": self.starts[index],
            "FEATURES": planes * first.height * 33 * 2 + features,
            "SUMS_AT": planes * first.height * 32 + features,
            "BATCH": _batch(segment, threads),
        }
        fields = ", ".join(f"{key} = {value}" for key, value in values.items())
        return f"template <> struct Segment<{index}> {{ enum {{ {fields} }}; }};"


def _batch(segment: Segment, threads: int) -> int:
    """Offsets of a later segment that a block works on at a time, in reverse."""
    n_offsets = segment.n_offsets
    return max(1, min(n_offsets, threads // (segment.height * segment.width)))


def _polynomial(name: str, coefficients: tuple[float, ...]) -> list[str]:
    """Horner's rule, written out."""
    *rest, last = coefficients
    value = f"fma_(z, REAL({last!r}), REAL({rest[-1]!r}))"
    for coefficient in reversed(rest[:-1]):
        value = f"fma_(z, {value}, REAL({coefficient!r}))"
    return [f"template <class T> DEV T {name}(T z) {{ return {value}; }}"]


@functools.cache
def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text()
