"""The settings of coresets."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import MethodConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec

FEATURE_EPOCHS = 30
"""Epochs of the network that gives features and losses. DC does not publish the number."""

Selection = Literal["herding", "k_center", "forgetting", "score", "score2", "score3"]
SELECTIONS: tuple[str, ...] = get_args(Selection)
BY_FEATURES = ("herding", "k_center")
"""The selections that look at the features of one class."""


@dataclasses.dataclass(frozen=True)
class CoresetConfig(MethodConfig):
    """What all coresets have.

    Attributes:
      flipped: share of the training labels that are replaced by another class before anything
        else; the seed decides which. 0 takes the data set as it is.
      across_classes: choose the best `images_per_class` times K images of all, so that classes may
        have more or fewer; by default every class has `images_per_class`.
    """

    flipped: float = 0.0
    across_classes: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.flipped < 1:
            raise UserError(f"flipped must be a share from 0 to below 1, not {self.flipped}")


@dataclasses.dataclass(frozen=True)
class DrawnConfig(CoresetConfig):
    """A random draw."""


@dataclasses.dataclass(frozen=True)
class SelectedConfig(CoresetConfig):
    """A selection by what a network trained on all images knows of them (`reference`).

    Attributes:
      selection: the rule, see `selection` and `loss_scores`.
      feature_epochs: epochs of that network.
      buffer_decay: of the moving average of an image's losses over the epochs.
      learner: that network.

    Raises:
      UserError: a value out of range, or a selection by features across classes.
    """

    selection: Selection = "herding"
    feature_epochs: int = FEATURE_EPOCHS
    buffer_decay: float = 0.9
    learner: NetworkSpec = NetworkSpec()

    def __post_init__(self):
        super().__post_init__()
        if self.selection not in SELECTIONS:
            known = ", ".join(SELECTIONS)
            raise UserError(f"unknown selection {self.selection!r}: choose from {known}")
        if self.feature_epochs < 1:
            raise UserError(f"feature_epochs must be at least 1, not {self.feature_epochs}")
        if not 0 <= self.buffer_decay < 1:
            raise UserError(f"buffer_decay must be from 0 to below 1, not {self.buffer_decay}")
        if self.across_classes and self.selection in BY_FEATURES:
            raise UserError(
                f"{self.selection} covers one class at a time: leave out across_classes"
            )
