"""All accelerators of this machine in one process: blocks go to them in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from paper_repro.core import lazy

if TYPE_CHECKING:
    import jax

    from paper_repro.core.kernels.prepared import Prepared
else:
    jax = lazy.module("jax")

_here = threading.local()


def current_card() -> int:
    """The number of the card on which this thread evaluates a block; 0 outside of a block."""
    return getattr(_here, "card", 0)


@dataclasses.dataclass(frozen=True)
class Cards:
    """Evaluates blocks on every device that JAX has, a thread each.

    Block number i goes to device i modulo their number, and back when it is pulled back. Results
    come in the order of the blocks, so their bits do not depend on the number of devices.

    Attributes:
      block_rows: see `Pool`. A step of 5,000 targets is eight blocks.
      devices: how many of JAX's devices are used, in its order; None for all.

    Example:
      >>> from paper_repro.core.kernels import Execution, KernelSpec
      >>> kernel = Execution("jax", pool=Cards()).kernel(KernelSpec("conv-1"))
      >>> kernel(np.ones((2, 4, 4, 1))).shape
      (2, 2)
    """

    block_rows: int = 625
    devices: int | None = None
    shares_memory: ClassVar[bool] = True

    def hold(self, images: Prepared) -> Prepared:
        """`images`: a kernel puts them on a device when a block is evaluated there."""
        return images

    def map(self, work: Callable[..., Any], blocks: Iterable[tuple]) -> Iterator[Any]:
        """`work(*block)` for every block, in their order; a few are under way on each device."""
        devices = jax.local_devices()[: self.devices]
        with contextlib.ExitStack() as stack:
            threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in devices]
            waiting: deque[Future] = deque()
            try:
                for number, block in enumerate(blocks):
                    card = number % len(devices)
                    waiting.append(
                        threads[card].submit(_evaluated, card, devices[card], work, block)
                    )
                    if len(waiting) > 2 * len(devices):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def _evaluated(card: int, device: jax.Device, work: Callable[..., Any], block: tuple) -> Any:
    _here.card = card
    with jax.default_device(device):
        return work(*block)
