"""What describes a finite network and its training on a set, without PyTorch.

Methods name these in what they record, and tables choose by them; `networks` and `training` carry
them out.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from paper_repro.core.errors import UserError

NETWORKS = ("ConvNet", "MLP", "LeNet", "AlexNet", "VGG11", "ResNet18", "AlexCifarNet")
"""The networks by name."""

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid")
NORMS = ("instance", "batch", "layer", "group", "none")
POOLINGS = ("avg", "max", "none")
INITIALS = ("default", "xavier")


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A finite network.

    Attributes:
      name: one of `NETWORKS`.
      width: channels of the ConvNet, units of the MLP; the others have their own.
      depth: blocks of the ConvNet.
      activation: of the ConvNet, one of `ACTIVATIONS`.
      norm: of the ConvNet, one of `NORMS`. instance is GroupNorm with a group a channel, layer
        with one group, group with four; all have a learned scale and shift.
      pooling: of the ConvNet, one of `POOLINGS`, 2x2 with stride 2 after each block.
      initial: one of `INITIALS`: PyTorch's default, or normal weights of Xavier's variance and
        biases of 0.

    Raises:
      UserError: a name or a value that is not one of these.

    Example:
      >>> str(NetworkSpec("ConvNet", width=64, norm="batch"))
      'ConvNet (width 64, batch norm)'
    """

    name: str = "ConvNet"
    width: int = 128
    depth: int = 3
    activation: str = "relu"
    norm: str = "instance"
    pooling: str = "avg"
    initial: str = "default"

    def __post_init__(self):
        choices = {
            "name": NETWORKS,
            "activation": ACTIVATIONS,
            "norm": NORMS,
            "pooling": POOLINGS,
            "initial": INITIALS,
        }
        for field, known in choices.items():
            value = getattr(self, field)
            if value not in known:
                what = "network" if field == "name" else field
                raise UserError(f"unknown {what} {value!r}: choose from {', '.join(known)}")
        if self.width < 1 or self.depth < 1:
            raise UserError(
                f"a network needs a width and a depth of at least 1, not {self.width} and "
                f"{self.depth}"
            )
        if self.norm == "group" and self.width % 4:
            raise UserError(f"group norm has four groups: width {self.width} does not divide by 4")

    @property
    def recorded(self) -> dict[str, Any]:
        """The name, and what differs from the published network."""
        plain = NetworkSpec()
        options = ("width", "depth", "activation", "norm", "pooling", "initial")
        changed = {o: getattr(self, o) for o in options if getattr(self, o) != getattr(plain, o)}
        return {"name": self.name, **changed}

    @property
    def settings(self) -> dict[str, Any]:
        """All fields, for the identity of a run; `initial` only where it is not the default.

        Runs that started before there was a choice of it go on.
        """
        fields = dataclasses.asdict(self)
        if self.initial == NetworkSpec().initial:
            del fields["initial"]
        return fields

    def __str__(self) -> str:
        words = {
            "norm": "{} norm",
            "pooling": "{} pooling",
            "activation": "{}",
            "initial": "{} initialisation",
        }
        options = [
            words.get(name, f"{name} {{}}").format(value)
            for name, value in self.recorded.items()
            if name != "name"
        ]
        return f"{self.name} ({', '.join(options)})" if options else self.name


Changes = Literal["none", "dc", "dsa"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a set is scored by finite networks (arXiv 2006.05929, appendix; arXiv 2102.08259).

    A new network is trained on the set by SGD with cross entropy, and tested once, at the end.

    Attributes:
      network: the network.
      networks: how many are trained, each from its own initialisation; the row has their mean.
      epochs: passes over the set.
      learning_rate: of SGD; a tenth of it from the middle of the epochs on.
      momentum, weight_decay: of SGD; the decay is that of PyTorch's SGD, of all parameters.
      batch: images a step at most.
      changes: random maps of the training images: none, those of DC for digits (`dc`: one of
        crop, scale and rotate an image), or those of DSA (`dsa`).
      flips: DSA's maps include a flip.

    Example:
      >>> Evaluation(networks=5).epochs
      300
    """

    network: NetworkSpec = NetworkSpec()
    networks: int = 20
    epochs: int = 300
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    changes: Changes = "none"
    flips: bool = True

    def __post_init__(self):
        for name in ("networks", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.changes not in ("none", "dc", "dsa"):
            raise UserError(f"unknown changes {self.changes!r}: choose none, dc or dsa")

    @property
    def is_reduced(self) -> bool:
        """Whether it takes fewer networks or epochs than the published one with these changes."""
        epochs = type(self).epochs if self.changes == "none" else AUGMENTED_EPOCHS
        return self.networks < type(self).networks or self.epochs < epochs

    @property
    def recorded(self) -> dict[str, Any]:
        """What result rows record; `from_recorded` reads it."""
        fields = {**dataclasses.asdict(self), "network": self.network.recorded}
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> Evaluation:
        """The evaluation of a row's configuration."""
        return cls(**{**recorded, "network": NetworkSpec(**recorded["network"])})


class Evaluated(NamedTuple):
    """What the networks of one set do on the test images.

    Attributes:
      accuracies: fractions, one a network.
      seconds: of all sessions.
    """

    accuracies: list[float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class UnrolledEvaluation:
    """How DD scores a set (arXiv 1811.10959, section 4): by the steps that the set was learned for.

    A new network is trained by one pass through the learned steps and their learning rates, and
    tested.

    Attributes:
      network: the network, with its initialisation.
      networks: how many are trained, each from its own initialisation; the row has their mean.

    Example:
      >>> UnrolledEvaluation(NetworkSpec("LeNet", initial="xavier")).networks
      200
    """

    network: NetworkSpec = NetworkSpec()
    networks: int = 200

    def __post_init__(self):
        if self.networks < 1:
            raise UserError(f"networks must be at least 1, not {self.networks}")

    @property
    def is_reduced(self) -> bool:
        """Whether it takes fewer networks than the published one."""
        return self.networks < type(self).networks

    @property
    def recorded(self) -> dict[str, Any]:
        """What result rows record; `from_recorded` reads it."""
        return {"network": self.network.recorded, "networks": self.networks}

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> UnrolledEvaluation:
        """The evaluation of a row's configuration."""
        return cls(NetworkSpec(**recorded["network"]), recorded["networks"])


def network_of_dd(channels: int, initial: str = "default") -> NetworkSpec:
    """The network of DD and LD: LeNet for gray images, AlexCifarNet for images in colour.

    Args:
      channels: of an image.
      initial: see `NetworkSpec`.
    """
    return NetworkSpec("LeNet" if channels == 1 else "AlexCifarNet", initial=initial)


DIGITS = ("mnist", "svhn", "svhn_mini")
"""Data sets whose images must not be flipped."""

AUGMENTED_EPOCHS = 1_000
"""Epochs of the published evaluation with augmented training images."""


def published_evaluation(dataset: str, siamese: bool, network: NetworkSpec) -> Evaluation:
    """DC's evaluation of a set: with its maps on MNIST alone, or with DSA's on every data set.

    Args:
      dataset: name of the data set.
      siamese: the set is DSA's.
      network: what is trained.
    """
    if siamese:
        flips = dataset not in DIGITS
        return Evaluation(network, epochs=AUGMENTED_EPOCHS, changes="dsa", flips=flips)
    if dataset == "mnist":
        return Evaluation(network, epochs=AUGMENTED_EPOCHS, changes="dc")
    return Evaluation(network)


def require_torch() -> None:
    """Refuse to go on where PyTorch is not installed; call it before PyTorch is imported.

    PyTorch's threads are then told to sleep while they wait, unless the environment says otherwise:
    its steps are short, and beside another busy process threads that spin took three to five times
    the processor time.

    Raises:
      UserError: it is not.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            "this method trains networks in PyTorch, which is not installed: run `make torch`, or "
            "`pip install torch` in the environment of this project"
        )
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
