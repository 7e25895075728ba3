"""How many threads PyTorch works in, where one is better than all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch works in one thread of the CPU for the length of a block; a GPU does not notice.

    Steps of a LeNet on a few images have little work to share, and on a machine with other work
    two threads wait for each other: on two shared cores an outer step of DD took 2.5 s in two
    threads and 1.3 s in one, one of LD 1.9 s and 0.5 s. Two runs side by side use two cores.

    Example:
      >>> with one_thread():
      ...     torch.get_num_threads()
      1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
