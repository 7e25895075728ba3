"""Kernel blocks on Ray: measured on this machine, and what that makes of 10 to 1,000 workers.

The model takes from the measurement what a block takes on one core and what a task costs the
driver; a network's bandwidth and the times of a card are given. It leaves out stragglers, vanished
workers and the scoring of test images.
"""

from __future__ import annotations

import dataclasses
import functools
import json as json_module
import math
import pickle
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.benchmark.measure import in_turn
from paper_repro.core import lazy
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.runs.cell import distilling_cell
from paper_repro.core.runs.presets import CONVNET
from paper_repro.core.store.provenance import provenance
from paper_repro.core.tables import published

if TYPE_CHECKING:
    from paper_repro.core import krr
else:
    krr = lazy.module("paper_repro.core.krr")

WORKERS = 10, 20, 50, 100, 200, 500, 1_000
SUPPORTS = 10, 100, 500
BATCH = 5_000
CARD_SECONDS = 1.03e-6, 5.35e-6
"""A pair forward and with its gradient on an H100 (results/benchmark_cuda_h100.json)."""

_COLUMNS = {"LS ConvNet": "LS", "KIP ConvNet no aug": "KIP (l)", "KIP ConvNet aug": "KIP (a + l)"}
_CLASSES = {
    d.title: (d.name, len(d.class_names), d.image_shape[0]) for d in registry.DATASETS.values()
}
_OF_SIDE = {32: 1.0, 28: 0.74}
"""Seconds of a pair by image side, in proportion to those of 32x32."""


def cluster(
    workers: tuple[int, ...] = (1, 2, 4),
    n_support: int = 10,
    target_batch: int = 500,
    repeats: int = 3,
    gbit: float = 10.0,
    json: bool = False,
) -> None:
    """Measure kernel blocks on Ray workers, and model 10 to 1,000 of them.

    Examples:
        python -m paper_repro.benchmark cluster
        python -m paper_repro.benchmark cluster --workers 1 2 --repeats 5 --json

    Args:
        workers: numbers of worker processes, of one thread each.
        n_support: support images, 32x32x3.
        target_batch: targets of a step.
        repeats: timed steps of each; the median counts.
        gbit: bandwidth of the driver's network in the model, Gbit/s.
        json: print one JSON object instead of tables.
    """
    if not workers or min(*workers, n_support, target_batch, repeats) < 1 or gbit <= 0:
        raise UserError("workers, supports, targets, repeats and gbit must be positive")
    row = measure(workers, n_support, target_batch, repeats)
    costs = Costs(
        row["forward_seconds_per_pair"],
        row["gradient_seconds_per_pair"],
        row["task_seconds"],
        row["driver_seconds"],
        1e9 * gbit / 8,
    )
    on_cards = dataclasses.replace(costs, forward=CARD_SECONDS[0], gradient=CARD_SECONDS[1])
    models = {"cores": modelled(costs), "H100s": modelled(on_cards)}
    if json:
        print(json_module.dumps({"rows": [row], "models": models}))
        return
    print(
        f"ConvNet NTK, a KIP step of {n_support} supports and {target_batch:,} targets, 32x32x3\n"
        f"  this process, {row['local_threads']} threads  {row['local_seconds']:7.2f} s\n"
        f"  a task without work: {1e3 * row['round_trip_seconds']:.2f} ms to and fro, "
        f"{1e3 * row['task_seconds']:.2f} ms each of many\n"
        f"  a block: {row['bytes_out']:,} bytes out (supports, {row['bytes_supports']:,} bytes, "
        f"once a step and node), {row['bytes_back']:,} back\n"
        "  workers  seconds  blocks/s  efficiency"
    )
    for found in row["by_workers"]:
        print(
            f"  {found['workers']:7}  {found['seconds']:7.2f}  {found['blocks_per_second']:8.2f}"
            f"  {found['efficiency']:10.2f}"
        )
    for name, lines in models.items():
        print(
            f"\nModel: workers that are {name}, batch {BATCH:,}, {gbit:g} Gbit/s; seconds a step "
            f"(share of communication)\n  workers  "
            + "  ".join(f"{n:>6} supports" for n in SUPPORTS)
            + "  Table 1, days"
        )
        for line in lines:
            steps = (f"{s['seconds']:8.3f} ({100 * s['share']:3.0f} %)" for s in line["steps"])
            print(f"  {line['workers']:7,}  " + "  ".join(steps) + f"  {line['table_days']:12.1f}")
        many = ", ".join(f"{blocks_of(n, BATCH):,} ({n} supports)" for n in SUPPORTS)
        print(f"  More workers than a step has blocks are idle: {many}")


@dataclasses.dataclass(frozen=True)
class Costs:
    """What the model is made of.

    Attributes:
      forward: seconds of a pair on one worker.
      gradient: seconds of a pair's gradient there.
      task: seconds of the driver for a task.
      driver: seconds of the driver for the rest of a step.
      bandwidth: bytes per second of the driver's network.
    """

    forward: float
    gradient: float
    task: float
    driver: float
    bandwidth: float

    def step(self, n_support: int, batch: int, workers: int) -> tuple[float, float]:
        """Seconds of a KIP step, and of them what its messages and tasks take."""
        blocks = blocks_of(n_support, batch)
        rows, columns = _cut()
        rows, columns = min(rows, n_support), min(columns, batch)
        waves = math.ceil(blocks / workers)
        busy = waves * rows * columns * (self.forward + self.gradient)
        pixels = 4 * 32 * 32 * 3
        nodes = min(workers, blocks)
        moved = blocks * (rows * pixels + 2 * 4 * rows * columns) + nodes * n_support * 2 * pixels
        spent = 2 * blocks * self.task + moved / self.bandwidth
        return busy + spent + self.driver, spent

    def solve(self, n_support: int, n_train: int, workers: int) -> float:
        """Seconds of a Label Solve, whose leaves are 500 targets."""
        leaves = math.ceil(n_train / 500)
        busy = math.ceil(leaves / workers) * 500 * n_support * self.forward
        return busy + leaves * (self.task + 8 * (n_support + 10) ** 2 / self.bandwidth)


def blocks_of(n_support: int, batch: int) -> int:
    """Blocks of a KIP step: of the supports with the targets, and with themselves."""
    rows, columns = _cut()
    with_targets = math.ceil(n_support / rows) * math.ceil(batch / columns)
    return with_targets + math.ceil(n_support / rows) * math.ceil(n_support / columns)


def modelled(costs: Costs) -> list[dict[str, Any]]:
    """A line for each number of workers: the steps of `SUPPORTS`, and Table 1 in days."""
    lines = []
    for workers in WORKERS:
        steps = [costs.step(n, BATCH, workers) for n in SUPPORTS]
        lines.append(
            {
                "workers": workers,
                "steps": [{"seconds": s, "share": spent / s} for s, spent in steps],
                "table_days": table_seconds(costs, workers) / 86_400,
            }
        )
    return lines


def table_seconds(costs: Costs, workers: int) -> float:
    """Seconds of the ConvNet columns of Table 1 at the papers' budget, one seed, most steps."""
    total = 0.0
    for cell in published.table1():
        if cell.method not in _COLUMNS or cell.dataset not in _CLASSES:
            continue
        name, n_classes, side = _CLASSES[cell.dataset]
        method = _COLUMNS[cell.method]
        budget = CONVNET["paper"]
        run = distilling_cell(method, name, cell.images_per_class, KernelSpec("ConvNet"), budget)
        n = cell.images_per_class * n_classes
        of_side = dataclasses.replace(
            costs,
            forward=costs.forward * _OF_SIDE[side],
            gradient=costs.gradient * _OF_SIDE[side],
        )
        if method == "LS":
            total += of_side.solve(n, registry.DATASETS[name].n_train, workers)
        else:
            total += run.config.steps * of_side.step(n, run.config.target_batch, workers)[0]
    return total


def measure(
    workers: tuple[int, ...], n_support: int, target_batch: int, repeats: int
) -> dict[str, Any]:
    """The figures that `cluster` prints first."""
    keep_freed_memory()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_support, 32, 32, 3)).astype(np.float32)
    images = rng.standard_normal((target_batch, 32, 32, 3)).astype(np.float32)
    spec = KernelSpec("convnet")
    local = Execution("numba").kernel(spec)
    far = Execution("numba", place="ray", workers=max(workers)).kernel(spec)
    crew, pool, one = far.pool.crew, far.pool, Execution("numba", threads=1).kernel(spec)

    def step(kernel, targets):
        cotangent = np.ones((n_support, target_batch), np.float32)

        def call():
            _, pullback = kernel.with_pullback(x, targets)
            pullback(cotangent)

        return call

    held, by_workers = far.hold(images), []
    here = step(local, local.prepare(images))
    local_seconds = float("nan")
    for n in workers:
        crew.most = n
        _settle(crew, n)
        seconds, local_seconds = in_turn(repeats, step(far, held), here)
        by_workers.append({"workers": n, "seconds": seconds, "local_seconds": local_seconds})
    blocks, first = math.ceil(target_batch / _cut()[1]), by_workers[0]
    blocks *= math.ceil(n_support / _cut()[0])
    for found in by_workers:
        found["blocks_per_second"] = 2 * blocks / found["seconds"]
        alone = first["seconds"] * first["workers"]
        found["efficiency"] = alone / (found["seconds"] * found["workers"])
    started = time.perf_counter()
    for _ in range(50):
        list(pool.map(len, [((),)]))
    round_trip = (time.perf_counter() - started) / 50
    started = time.perf_counter()
    list(pool.map(len, [((),)] * 500))
    task = (time.perf_counter() - started) / 500
    rows, columns = (min(*sizes) for sizes in zip(_cut(), (n_support, target_batch), strict=True))
    p1, part = one.prepare(x[:rows]), one.prepare(images[:columns])
    cotangent = np.ones((rows, columns), np.float32)
    forward, gradient = in_turn(
        repeats, lambda: one.block(p1, part), lambda: one.block_vjp(p1, part, cotangent)
    )
    k_ts, y = rng.standard_normal((BATCH, n_support)), rng.standard_normal((BATCH, 10))
    k_ss = k_ts[:n_support] @ k_ts[:n_support].T + np.eye(n_support)
    (driver,) = in_turn(
        repeats, lambda: krr.loss_and_gradient(k_ts, k_ss, y, np.eye(n_support, 10))
    )
    found = provenance()
    return {
        "n_support": n_support,
        "target_batch": target_batch,
        "local_threads": local.threads,
        "local_seconds": local_seconds,
        "by_workers": by_workers,
        "round_trip_seconds": round_trip,
        "task_seconds": task,
        "forward_seconds_per_pair": forward / (rows * columns),
        "gradient_seconds_per_pair": gradient / (rows * columns),
        "driver_seconds": driver,
        "bytes_out": len(pickle.dumps((far, held[:columns], cotangent, None))),
        "bytes_supports": len(pickle.dumps(p1)),
        "bytes_back": cotangent.nbytes + x[:rows].nbytes,
        "versions": found["versions"],
        "hardware": found["hardware"],
    }


def _settle(crew: Any, n: int) -> None:
    """Wait until there are n workers; those that are too many are stopped."""
    for worker in list(crew.workers())[n:]:
        crew.discard(worker)
    started = time.monotonic()
    while len(crew.workers()) < n:
        if time.monotonic() - started > 300:
            raise UserError(f"there is no room for {n} workers of one core in this cluster")
        crew.wait([], 0.2)


@functools.cache
def _cut() -> tuple[int, int]:
    return Execution("numba").kernel(KernelSpec("convnet")).gradient_cut
