"""Seconds and memory of a call, and how fast the machine could be."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.machine.memory import return_freed_memory
from paper_repro.core.machine.threads import for_each

if TYPE_CHECKING:
    from paper_repro.benchmark import fma
else:
    fma = lazy.module("paper_repro.benchmark.fma")


def best_seconds(call: Callable[[], Any], budget: float, most: int = 7) -> float:
    """Shortest of several calls, at least two, made for about `budget` seconds.

    The first call should have been made before, so that nothing is compiled here.
    """
    seconds: list[float] = []
    start = time.perf_counter()
    while len(seconds) < 2 or (
        len(seconds) < most and time.perf_counter() - start + min(seconds) < budget
    ):
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    return min(seconds)


def in_turn(repeats: int, *calls: Callable[[], Any]) -> list[float]:
    """Median seconds of each call, interleaved, so that drift in machine load affects all."""
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(repeats):
        for call, record in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            record.append(time.perf_counter() - started)
    return [statistics.median(record) for record in seconds]


class PeakMemory:
    """Resident memory (MiB) beyond that at the start; `mb` after the block.

    Memory that malloc keeps from earlier calls is given back first, or taking it again would go
    unseen. Where the system does not tell the current size (not Linux), it is the growth of the
    process's peak.
    """

    mb: float = 0.0


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Watch the process's memory, every 10 ms."""
    result, stop = PeakMemory(), threading.Event()
    return_freed_memory()
    start = largest = _resident()

    def watch() -> None:
        nonlocal largest
        while not stop.wait(0.01):
            largest = max(largest, _resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        stop.set()
        thread.join()
        result.mb = round((max(largest, _resident()) - start) / 2**20, 1)


def _resident() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def peak_gflops(threads: int, repeats: int = 5) -> float:
    """Measured float32 multiply-adds per second, times two, over all threads, in 1e9.

    Eight independent chains of fused multiply-adds on full vector registers: the arithmetic
    limit of the cores at the clock that they hold under this load.
    """
    steps = 2_000_000
    outputs = [np.ones(16 * 16, np.float32) for _ in range(threads)]
    fma.chains(outputs[0], 10)
    seconds = best_seconds(
        lambda: for_each(lambda out: fma.chains(out, steps), outputs, threads), 2.0, repeats
    )
    return threads * fma.flops(steps) / seconds / 1e9
