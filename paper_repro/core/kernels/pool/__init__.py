"""Where kernel blocks are evaluated: in this process, or wherever a `Pool` sends them.

`kernels.blocks` cuts a matrix into blocks by row number, gives them to a pool in that order, and
adds up what comes back in that order. So results depend neither on the number of workers nor on
which of them is done first. How a matrix is cut belongs to the kernel (`Kernel.gradient_block`), so
pools agree bit for bit.

A pool is one file here. It needs two things: a way to keep images where blocks are evaluated, and a
`map`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from paper_repro.core.kernels.prepared import Prepared

Result = TypeVar("Result")

WHOLE_STEP = 5_000, 5_000
"""The papers' largest batch of targets in one block: for kernels whose step is short."""


class Pool(Protocol):
    """Evaluates blocks of kernel matrices.

    Attributes:
      block_rows: the most rows of the second argument in one block of a gradient, in place of the
        kernel's own number; None for that. It decides the order of sums.
      shares_memory: whether work and results stay in this process: `map` may then be given what
        cannot be pickled.
    """

    block_rows: int | None
    shares_memory: bool

    def hold(self, images: Prepared) -> Any:
        """Keep `images` where blocks are evaluated, so that they are sent once.

        Returns:
          `images` themselves, or `held.HeldImages` that stand for them.
        """

    def map(self, work: Callable[..., Result], blocks: Iterable[tuple]) -> Iterator[Result]:
        """`work(*block)` for every block, in the order of `blocks`.

        Args:
          work: a function of a module. Where it has an attribute `shape_of`, that function of a
            block is the shape of its result, by which a pool tells a worker that fails.
          blocks: arguments of `work`, arrays and kernels; a kernel is pickled as a recipe.
        """
