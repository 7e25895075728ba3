"""What is tried when a finite network is trained on a set, without the libraries that train it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, Literal

from paper_repro.core.store.row_schema import without_later

Optimizer = Literal["sgd", "adam"]

Stability = Literal["validation", "both"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is tried; tuples are the axes of the grid.

    Attributes:
      width, steps, batch, optimizer: see `Network` and `TrainingConfig`.
      learning_rate_factor, l2: axes, see `TrainingConfig`.
      learning_rate: an axis in place of `learning_rate_factor`, if it is not empty.
      label_scale: axis; labels are multiplied by it and outputs divided. At a finite width the
        function at initialisation is noise of order one, and larger labels drown it. Cross
        entropy sees no scale: it is trained once for all of them.
      loss: axis, see `losses`.
      augmentation: fields of a `SupportAugmentation`, or None.
      n_validation: the first so many validation images choose; None for all.
      parameterisation: see `Network`.
      stability: the images whose empirical NTK bounds the learning rate: validation images, as in
        the official notebook, or the smaller bound of theirs and of the support's. Learned
        images can be many times longer than natural ones, and what is stable on these diverges.
    """

    width: int
    steps: int
    learning_rate_factor: tuple[float, ...] = (1.0,)
    l2: tuple[float, ...] = (1e-3,)
    label_scale: tuple[float, ...] = (1.0,)
    loss: tuple[str, ...] = ("mse",)
    batch: int = 100
    augmentation: Mapping[str, Any] | None = None
    n_validation: int | None = None
    parameterisation: str = "standard"
    stability: Stability = "validation"
    optimizer: Optimizer = "sgd"
    learning_rate: tuple[float, ...] = ()

    @property
    def recorded(self) -> dict[str, Any]:
        """What decides the outcome of a grid, for the identity of a call."""
        return without_later(dataclasses.asdict(self), optimizer="sgd", learning_rate=())

    @property
    def points(self) -> list[dict[str, Any]]:
        """The settings of the grid, in the order in which they are tried."""
        points = []
        rate = "learning_rate" if self.learning_rate else "learning_rate_factor"
        axes = (self.loss, getattr(self, rate), self.l2, self.label_scale)
        for loss, value, l2, scale in itertools.product(*axes):
            point = {rate: value, "l2": l2}
            point["label_scale"] = scale if loss == "mse" else 1.0
            if tuple(self.loss) != ("mse",):
                point["loss"] = loss
            if point not in points:
                points.append(point)
        return points


ADAM = Settings(
    width=128,
    steps=200,
    l2=(0.0,),
    label_scale=(16.0,),
    optimizer="adam",
    learning_rate=(0.02,),
    parameterisation="ntk",
    augmentation={"shift": 0, "flip": True},
)
"""The recipe for small widths that did best on validation images (docs/results.md)."""
