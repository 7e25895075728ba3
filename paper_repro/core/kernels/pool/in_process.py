"""The default pool: one block after another in this process, each on all cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from paper_repro.core.kernels.prepared import Prepared


@dataclasses.dataclass(frozen=True)
class InProcess:
    """Evaluates blocks here; a backend spreads each over the cores by itself.

    Attributes:
      block_rows: see `Pool`.
    """

    block_rows: int | None = None
    shares_memory: ClassVar[bool] = True

    def hold(self, images: Prepared) -> Prepared:
        """`images`: they are where blocks are evaluated."""
        return images

    def map(self, work: Callable[..., Any], blocks: Iterable[tuple]) -> Iterator[Any]:
        """`work(*block)` for every block, each when its result is asked for."""
        for block in blocks:
            yield work(*block)
