"""Images that a pool keeps where blocks are evaluated; rows of them are named by number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from paper_repro.core.kernels.prepared import Prepared


@dataclasses.dataclass(frozen=True, eq=False)
class HeldImages:
    """Rows of prepared images that a pool holds; it travels as their numbers.

    Attributes:
      value: where blocks are evaluated, returns all images that are held. It is pickled with
        every block, so it names them (a key, a file, an object reference) and keeps what it read.
      image_shape: shape of one image.
      rows: int64 (n,), the rows meant.
    """

    value: Callable[[], Prepared]
    image_shape: tuple[int, ...]
    rows: np.ndarray

    @classmethod
    def of(cls, value: Callable[[], Prepared], shape: tuple[int, ...]) -> HeldImages:
        """All rows of held images of `shape` (n, ...)."""
        return cls(value, tuple(shape[1:]), np.arange(shape[0]))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images, (n, ...)."""
        return len(self.rows), *self.image_shape

    def __getitem__(self, rows: slice | np.ndarray) -> HeldImages:
        """The images of `rows` (a slice or an integer array), as NumPy indexes."""
        return dataclasses.replace(self, rows=self.rows[rows])


def here(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two arguments of a block where it is evaluated; what was one object stays one."""
    first = _value(x1)
    return first, first if x2 is x1 else _value(x2)


def _value(x: Any) -> Any:
    return x.value()[x.rows] if isinstance(x, HeldImages) else x
