"""Milliseconds per image pair of the network kernels, beside neural-tangents in the same run."""

from __future__ import annotations

import contextlib
import json as json_module
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.benchmark.measure import best_seconds, peak_gflops, peak_memory
from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.store.provenance import hardware, versions

if TYPE_CHECKING:
    import jax

    from paper_repro.core.kernels import factory, neural_tangents, plan
    from paper_repro.core.kernels.cuda_backend import device
else:
    jax = lazy.module("jax")
    device = lazy.module("paper_repro.core.kernels.cuda_backend.device")
    factory = lazy.module("paper_repro.core.kernels.factory")
    neural_tangents = lazy.module("paper_repro.core.kernels.neural_tangents")
    plan = lazy.module("paper_repro.core.kernels.plan")

SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28, 1)}
ARCHITECTURES = ("convnet", "convnet3", "conv-3", "myrtle-5", "myrtle-7", "myrtle-10", "fc2")
GROWTH = (1_000, 10_000, 100_000)


def kernel(
    quick: bool = False,
    json: bool = False,
    architectures: tuple[str, ...] = (),
    shapes: tuple[str, ...] = ("cifar10", "mnist"),
    backends: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = ("float32",),
    growth: bool = True,
    pairs: int | None = None,
    roofline: bool = False,
) -> None:
    """Time the network kernels per image pair, forward and gradient, against neural-tangents.

    Images are random, standard normal. Each side is called once before it is timed and the
    shortest of several calls counts; neural-tangents runs at the best of several block sizes, on
    few pairs, since its time per pair does not depend on their number. Ours are given images with
    their variances, as KIP has its targets; the rows of growing matrices include that work. The
    error is the largest of two by two pairs (of a gradient, of two images). The first run on a
    machine also compiles the numba backend, about a minute, which later runs load from a cache.

    Examples:
        python -m paper_repro.benchmark kernel --quick
        python -m paper_repro.benchmark kernel --json > benchmark.json
        python -m paper_repro.benchmark kernel --architectures convnet --backends numba
        python -m paper_repro.benchmark kernel --quick --roofline

    Args:
        quick: only the paper's ConvNet at 32x32x3 and no growth, within 90 s.
        json: print one JSON object with `rows` instead of a table.
        architectures: names as everywhere; by default all.
        shapes: cifar10 (32x32x3) and mnist (28x28x1).
        backends: ours to time: numba, jax, cuda; default numba and jax, cuda and jax on a card.
        dtypes: float32, float64.
        growth: also time 1,000 to 100,000 pairs of the paper's ConvNet.
        pairs: pairs in a call, a multiple of 8; default 128 or 1,024, on a card 10,000.
        roofline: also print the arithmetic of a pair, the rate reached, and its share of the
            peak: measured of the cores, computed of a card.
    """
    if unknown := set(shapes) - set(SHAPES):
        raise UserError(f"unknown shape {unknown.pop()!r}: choose {', '.join(SHAPES)}")
    if unknown := set(backends) - {"numba", "jax", "cuda"}:
        raise UserError(f"unknown backend {unknown.pop()!r}: choose numba, jax, cuda")
    if pairs is not None and (pairs < 16 or pairs % 8):
        raise UserError(f"pairs must be a multiple of 8 and at least 16, not {pairs}")
    on_card = jax.default_backend() != "cpu"
    backends = backends or (("cuda", "jax") if on_card else ("numba", "jax"))
    pairs = 10_000 if pairs is None and on_card else pairs
    if quick:
        shapes, growth = ("cifar10",), False
        architectures = architectures or ("convnet",)
    # Without this the peer spends much of its time on page faults, ours hardly any.
    keep_freed_memory()
    report = {"machine": _machine(), "rows": []}
    for name in architectures or ARCHITECTURES:
        for shape in shapes:
            for dtype in dtypes:
                report["rows"] += compare(name, SHAPES[shape], backends, dtype, quick, pairs)
                _say(f"{name} {shape} {dtype} done")
    if growth and "numba" in backends:
        for shape in shapes:
            report["rows"] += growing(SHAPES[shape])
    report["limit"] = [_limit(row, report["machine"]) for row in report["rows"]]
    if json:
        print(json_module.dumps(report))
    else:
        _print_table(report, roofline)


def compare(
    name: str,
    shape: tuple[int, int, int],
    backends: tuple[str, ...],
    dtype: str,
    quick: bool,
    pairs: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of one architecture: each backend, forward and gradient, with its peer's time.

    `pairs` is a multiple of 8, the same for every backend; None for what suits each on a CPU.
    """
    rng = np.random.default_rng(0)
    x1 = rng.normal(size=(8, *shape)).astype(dtype)
    x2 = rng.normal(size=(128, *shape)).astype(dtype)
    few = x1[:2], x2[:2]
    seeds = rng.normal(size=(8, 128)).astype(dtype)
    if pairs is not None:
        x2 = np.resize(x2, (pairs // 8, *shape))
    architecture = from_name(name)
    peers = {
        mode: _peer(architecture, dtype, mode, few, seeds[:2, :2], quick)
        for mode in ("forward", "gradient")
    }
    rows = []
    for backend in backends:
        ours = factory.network_kernel(architecture, backend=backend, dtype=dtype)
        n1, n2 = (8, 128) if backend != "jax" or name.startswith("fc") else (4, 32)
        if pairs is not None:
            n1, n2 = 8, pairs // 8
        prepared = ours.prepare(x1[:n1]), ours.prepare(x2[:n2])
        masked = np.zeros((n1, n2), dtype)
        masked[:2, :2] = seeds[:2, :2]
        for mode in ("forward", "gradient"):
            peer_ms, expected = peers[mode]
            call = ours if mode == "forward" else ours.vjp
            operands = prepared if mode == "forward" else (*prepared, masked)
            # The same first two images as the peer's; this call also compiles.
            found = np.asarray(call(*operands))
            found = found[:2, :2] if mode == "forward" else found[:2].reshape(expected.shape)
            ms, peak = _time(call, operands, 1.5 if quick else 3.0)
            rows.append(
                _row(
                    architecture.name,
                    shape,
                    backend,
                    mode,
                    dtype,
                    n1 * n2,
                    ms / (n1 * n2),
                    peer_ms,
                    _error(found, expected, mode),
                    peak,
                )
            )
    return rows


def growing(shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Rows of the paper's ConvNet for a growing number of pairs, whole matrices in blocks."""
    kernel_fn = factory.network_kernel("convnet", backend="numba")
    rng = np.random.default_rng(0)
    rows = []
    x1 = rng.normal(size=(8, *shape)).astype("float32")
    for n_pairs in GROWTH:
        x2 = rng.normal(size=(n_pairs // 8, *shape)).astype("float32")
        kernel_fn(x1[:1], x2[:1])
        ms, peak = _time(kernel_fn, (x1, x2), 5.0)
        rows.append(
            _row(
                kernel_fn.name,
                shape,
                "numba",
                "forward",
                "float32",
                n_pairs,
                ms / n_pairs,
                None,
                None,
                peak,
            )
        )
        _say(f"{n_pairs:,} pairs done")
    return rows


def _peer(architecture, dtype, mode, images, seeds, quick: bool):
    """neural-tangents' best milliseconds per pair over block sizes, and its float64 result."""
    best = float("inf")
    x1, x2 = images
    rng = np.random.default_rng(1)
    sizes = (1, 4) if quick else (1, 2, 4, 8)
    if jax.default_backend() != "cpu":  # 301 us a gradient at 32 pairs, 124 a value at 128 (H100)
        sizes = (8, 32, 128) if mode == "forward" else (8, 32)
    for pairs in sizes:
        peer = neural_tangents.NeuralTangentsKernel(architecture, dtype, tile_pairs=pairs)
        y2 = rng.normal(size=(pairs, *x2.shape[1:])).astype(dtype)
        operands = (x1[:1], y2) if mode == "forward" else (x1[:1], y2, np.ones((1, pairs), dtype))
        call = peer if mode == "forward" else peer.vjp
        call(*operands)
        ms, _ = _time(call, operands, 1.0 if quick else 2.0)
        best = min(best, ms / pairs)
    exact = neural_tangents.NeuralTangentsKernel(architecture, "float64", tile_pairs=2)
    expected = exact(*images) if mode == "forward" else exact.vjp(*images, seeds)
    return best, expected


def _time(call: Callable, operands: tuple, budget: float):
    """(milliseconds of a call that was compiled before, its memory in MB beyond what was held)."""

    def finished() -> None:
        jax.block_until_ready(call(*operands))

    with peak_memory() as memory:
        seconds = best_seconds(finished, budget)
    return 1e3 * seconds, memory.mb


def _error(found, expected, mode: str) -> float:
    """Largest relative error of the values; of a gradient, that of its norm's difference."""
    if mode == "forward":
        return float(np.max(np.abs(found / expected - 1)))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _row(name, shape, backend, mode, dtype, n_pairs, ms, peer_ms, error, peak) -> dict[str, Any]:
    return {
        "architecture": name,
        "shape": list(shape),
        "backend": backend,
        "mode": mode,
        "dtype": dtype,
        "n_pairs": n_pairs,
        "ms_per_pair": ms,
        "peer_ms_per_pair": peer_ms,
        "ratio": None if peer_ms is None else peer_ms / ms,
        "max_rel_err": error,
        "peak_mb": peak,
    }


def _machine() -> dict[str, Any]:
    on_card = jax.default_backend() != "cpu"
    found = hardware()
    card = {"card_float32_gflops": _card_gflops()} if on_card else {}
    return {
        "processor": found["cpu"],
        "simd": found["simd"],
        "cores": found["cores"],
        "device": jax.devices()[0].device_kind,
        "float32_gflops": peak_gflops(found["cores"]),
        "versions": versions(),
        **card,
    }


def _card_gflops() -> float | None:
    """The computed peak of the card; None where the cuda extra is missing."""
    with contextlib.suppress(UserError):
        return device.cuda_device().peak_gflops()
    return None


def _limit(row: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """What the plan's arithmetic would take at the peak of the cores (measured) or of the card."""
    peak = machine["float32_gflops"]
    if row["backend"] != "numba":
        peak = machine.get("card_float32_gflops", peak)
    if row["architecture"].startswith("FC") or peak is None:
        return {"mflop_per_pair": None, "limit_ms_per_pair": None, "of_limit": None}
    planned = plan.plan(from_name(row["architecture"]), tuple(row["shape"]))
    flops = planned.flops_per_pair(reverse=row["mode"] == "gradient")
    rate = peak * (0.5 if row["dtype"] == "float64" else 1)
    limit = flops / rate / 1e6
    return {
        "mflop_per_pair": flops / 1e6,
        "limit_ms_per_pair": limit,
        "of_limit": limit / row["ms_per_pair"],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_table(report: dict[str, Any], roofline: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    machine = report["machine"]
    table = Table(
        title=f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['float32_gflops']:.0f} Gflop/s in float32; device {machine['device']}"
    )
    for column in ("architecture", "shape", "backend", "mode", "dtype"):
        table.add_column(column)
    for column in ("pairs", "ms/pair", "peer", "ratio", "rel. error", "MB", "limit ms"):
        table.add_column(column, justify="right")
    for column in ("Mflop/pair", "Gflop/s", "of peak") if roofline else ():
        table.add_column(column, justify="right")
    for row, limit in zip(report["rows"], report["limit"], strict=True):
        table.add_row(
            row["architecture"],
            "x".join(map(str, row["shape"])),
            row["backend"],
            row["mode"],
            row["dtype"],
            f"{row['n_pairs']:,}",
            f"{row['ms_per_pair']:.4f}",
            "" if row["peer_ms_per_pair"] is None else f"{row['peer_ms_per_pair']:.1f}",
            "" if row["ratio"] is None else f"{row['ratio']:.0f}",
            "" if row["max_rel_err"] is None else f"{row['max_rel_err']:.1e}",
            f"{row['peak_mb']:.0f}",
            "" if limit["limit_ms_per_pair"] is None else f"{limit['limit_ms_per_pair']:.4f}",
            *(_roofline(row, limit) if roofline else ()),
        )
    Console(width=180 if roofline else 140).print(table)


def _roofline(row: dict[str, Any], limit: dict[str, Any]) -> tuple[str, str, str]:
    """Arithmetic of a pair, the rate reached, and its share of the peak."""
    if limit["mflop_per_pair"] is None:
        return "", "", ""
    rate = limit["mflop_per_pair"] / row["ms_per_pair"]
    return f"{limit['mflop_per_pair']:.2f}", f"{rate:.1f}", f"{100 * limit['of_limit']:.0f} %"
