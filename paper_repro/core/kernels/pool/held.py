"""Images that are read or made where blocks are evaluated; rows of them are named by number."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class RemoteImages:
    """Rows of images that a block gets where it is evaluated; they travel as their numbers.

    Attributes:
      make: from row numbers, int64 (n,), to those images, raw or prepared. It is pickled with
        every block, so it names what it reads (a key, a file, an object reference).
      image_shape: shape of one image.
      rows: int64 (n,), the rows meant.
    """

    make: Callable[[np.ndarray], Any]
    image_shape: tuple[int, ...]
    rows: np.ndarray

    @classmethod
    def made(cls, make: Callable[[np.ndarray], Any], shape: tuple[int, ...]) -> Self:
        """All rows of images of `shape` (n, ...) that `make` makes."""
        return cls(make, tuple(shape[1:]), np.arange(shape[0]))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images, (n, ...)."""
        return len(self.rows), *self.image_shape

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        """The images of `rows` (a slice or an integer array), as NumPy indexes."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def read(self) -> Any:
        """The images themselves."""
        return self.make(self.rows)


class HeldImages(RemoteImages):
    """Rows of images that a pool keeps where blocks are evaluated."""

    @classmethod
    def of(cls, value: Callable[[], Any], shape: tuple[int, ...]) -> Self:
        """All rows of images of `shape` (n, ...); `value` returns what is held, and keeps it."""
        return cls.made(functools.partial(_rows_of, value), shape)


def _rows_of(value: Callable[[], Any], rows: np.ndarray) -> Any:
    return value()[rows]


def here(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two arguments of a block where it is evaluated; what was one object stays one."""
    first = read(x1)
    return first, first if x2 is x1 else read(x2)


def read(x: Any) -> Any:
    """`x`, or the images that it stands for."""
    return x.read() if isinstance(x, RemoteImages) else x
