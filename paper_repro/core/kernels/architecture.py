"""Architectures as data: one description for the infinite kernel and for the finite network.

An architecture is a tuple of layers. The kernel backends read it (through the planner), the
finite networks are built from it, and its name goes into result rows.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, ClassVar

from paper_repro.core import lazy
from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    from paper_repro.core.kernels import activations
    from paper_repro.core.kernels.activations import Activation
else:
    # They import JAX, which a command line does not wait for.
    activations = lazy.module("paper_repro.core.kernels.activations")


@dataclasses.dataclass(frozen=True)
class Conv:
    """3x3 convolution, stride 1, SAME zero padding, with bias."""

    window: ClassVar[int] = 3


@dataclasses.dataclass(frozen=True)
class AvgPool:
    """2x2 average pooling, stride 2, VALID: an odd last row or column is dropped."""

    size: ClassVar[int] = 2


@dataclasses.dataclass(frozen=True)
class Flatten:
    """All pixels and channels become features of the next dense layer."""


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool:
    """The mean over all pixels."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Fully connected layer with bias; the last one is the readout."""


if TYPE_CHECKING:
    Layer = Conv | Activation | AvgPool | Flatten | GlobalAvgPool | Dense


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A named stack of layers with the initialisation the papers use.

    Attributes:
      name: the name in result rows, for instance `ConvNet` or `FC1`.
      layers: the layers from the input to the readout; the last one is `Dense`.
      w_std: standard deviation of the weights before fan-in scaling (arXiv 2107.13034: sqrt 2).
      b_std: standard deviation of the biases (0.1).
    """

    name: str
    layers: tuple[Layer, ...]
    w_std: float = 2.0**0.5
    b_std: float = 0.1


def convnet(
    depth: int = 3, prepend: bool = True, activation: Activation | None = None
) -> Architecture:
    """The paper's ConvNet: `depth` blocks of conv, ReLU, pool; `prepend` puts a conv+ReLU first.

    `convnet()` is the ConvNet of arXiv 2107.13034. The one of DC and DSA normalises instances
    and has no prepended layer; here there is no normalisation.

    Args:
      depth: number of blocks.
      prepend: whether a convolution and an activation come before them.
      activation: the layer in place of ReLU, here and in the other networks of this module.
    """
    _require_depth("convnet", depth)
    phi = activation or activations.ReLU()
    layers: tuple[Layer, ...] = (Conv(), phi) if prepend else ()
    layers += (Conv(), phi, AvgPool()) * depth + (Flatten(), Dense())
    if depth == 3:
        name = "ConvNet" if prepend else "ConvNet3"
    else:
        name = f"ConvNet(depth={depth}, prepend={prepend})"
    return Architecture(_named(name, phi), layers)


def convnet3(activation: Activation | None = None) -> Architecture:
    """The ConvNet without its first conv+ReLU, as in the official release."""
    return convnet(prepend=False, activation=activation)


def conv(depth: int, activation: Activation | None = None) -> Architecture:
    """Conv-n of the earlier notebook: n conv+ReLU layers, no pooling, Flatten, Dense."""
    _require_depth("conv", depth)
    phi = activation or activations.ReLU()
    return Architecture(_named(f"Conv-{depth}", phi), (Conv(), phi) * depth + (Flatten(), Dense()))


_MYRTLE_BLOCKS = {5: (1, 1, 1), 7: (1, 2, 2), 10: (2, 3, 3)}


def myrtle(depth: int, activation: Activation | None = None) -> Architecture:
    """Myrtle-5, -7 or -10: conv+ReLU, three blocks with pools between, global average pooling."""
    if depth not in _MYRTLE_BLOCKS:
        raise UserError(f"myrtle-{depth} is not defined: choose 5, 7 or 10")
    phi = activation or activations.ReLU()
    layers: tuple[Layer, ...] = (Conv(), phi)
    for index, repeats in enumerate(_MYRTLE_BLOCKS[depth]):
        layers += (Conv(), phi) * repeats
        if index < 2:
            layers += (AvgPool(),)
    return Architecture(_named(f"Myrtle-{depth}", phi), (*layers, GlobalAvgPool(), Dense()))


def fully_connected(depth: int, activation: Activation | None = None) -> Architecture:
    """FC-n: Flatten, n dense+ReLU layers, Dense (arXiv 2011.00050)."""
    _require_depth("fc", depth)
    phi = activation or activations.ReLU()
    return Architecture(_named(f"FC{depth}", phi), (Flatten(), *(Dense(), phi) * depth, Dense()))


_NAMES = "convnet, convnet3, conv-N, myrtle-5, myrtle-7, myrtle-10, fcN (N >= 1)"


def from_name(name: str) -> Architecture:
    """The architecture for a name as typed: `convnet`, `convnet3`, `conv-8`, `myrtle-5`, `fc1`.

    An activation other than ReLU is put at the end: `convnet-erf`, `conv-3-leakyrelu0.1`. Case,
    spaces, hyphens and underscores do not matter, so every `Architecture.name` that these
    functions make by default is accepted too.

    Raises:
      UserError: unknown name.
    """
    key, activation = activations.split_name(re.sub(r"[\s_-]", "", name.lower()))
    if key == "convnet":
        return convnet(activation=activation)
    if key == "convnet3":
        return convnet3(activation)
    for pattern, make in (
        (r"conv(\d+)", conv),
        (r"myrtle(\d+)", myrtle),
        (r"fc(\d+)", fully_connected),
    ):
        if match := re.fullmatch(pattern, key):
            return make(int(match.group(1)), activation)
    raise UserError(
        f"unknown architecture {name!r}: choose one of {_NAMES}, and put an activation other than "
        f"ReLU at the end, as in convnet-erf ({', '.join(activations.ACTIVATIONS)})"
    )


def __getattr__(name: str) -> Any:
    """The activations under their own names, as layers are: `architecture.ReLU`."""
    # An import asks for `__path__`, which must not load them.
    if not name.startswith("_") and name in activations.__all__:
        return getattr(activations, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _named(name: str, activation: Activation) -> str:
    """The name of a network: ReLU, the papers' activation, goes without saying."""
    return name if activation == activations.ReLU() else f"{name}-{activation.label}"


_MOST_LAYERS = 100


def _require_depth(what: str, depth: int) -> None:
    if not 1 <= depth <= _MOST_LAYERS:
        raise UserError(f"{what} needs 1 to {_MOST_LAYERS} layers, not {depth}")
