"""Work spread over CPU cores by threads; the compiled code they run releases the GIL.

The threads live as long as one call. So a process may fork between calls, or be forked from a
process that has called, and any number of threads may call at once: Numba's own threads (`prange`)
end a forked child where they are OpenMP's, and the process where they are not and two threads call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def pieces(items: Sequence, n_threads: int, per_thread: int = 4) -> list:
    """`items` cut into contiguous pieces, a few per thread so that all finish together."""
    n_pieces = max(1, min(len(items), n_threads * per_thread))
    bounds = [len(items) * piece // n_pieces for piece in range(n_pieces + 1)]
    return [items[a:b] for a, b in itertools.pairwise(bounds) if b > a]


def for_each(work: Callable[[Any], None], parts: Sequence, n_threads: int) -> None:
    """Call `work` on every part, `n_threads` at a time; the first exception is raised."""
    if n_threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(work, parts):
            pass
