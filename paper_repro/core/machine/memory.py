"""Large buffers that are freed and asked for again at every step stay with the process.

By default glibc maps blocks over 32 MB anew each time, and the kernel zeroes them page by page
as they are touched. A KIP step frees and allocates several 61 MB batches, and on a virtual machine
those page faults took longer than the arithmetic.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MOST = 2**31 - 1
"""Bytes of freed memory to hold on to."""


@functools.cache
def keep_freed_memory() -> bool:
    """Have malloc reuse freed blocks of any size instead of returning them; process-wide.

    Returns:
      Whether it took effect: only with glibc.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])


def return_freed_memory() -> bool:
    """Have malloc give back what it holds on to, once, so that what follows can be measured.

    Returns:
      Whether anything was given back: only with glibc.
    """
    malloc_trim = _glibc("malloc_trim")
    return malloc_trim is not None and malloc_trim(0) == 1


def _glibc(name: str):
    if sys.platform != "linux":
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
