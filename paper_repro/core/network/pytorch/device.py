"""Where PyTorch computes, in which precision, and in how many threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


def device() -> torch.device:
    """An NVIDIA card where PyTorch has one, else the CPU.

    On a card convolutions are repeatable and, like matrix products, in float32: by default PyTorch
    rounds the factors of a convolution to the 10 bits of TF32 there.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda")


def as_inputs(images: np.ndarray) -> torch.Tensor:
    """Images (n, H, W, C) as PyTorch takes them, float32 (n, C, H, W)."""
    channels_first = np.ascontiguousarray(np.moveaxis(np.asarray(images, np.float32), 3, 1))
    return torch.from_numpy(channels_first).to(device())


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
