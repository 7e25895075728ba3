"""The activations of networks, one file each, found by the name that architectures carry.

To add one, write its file (see `base`) and name its class here.
"""

from __future__ import annotations

import re

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations.base import Activation
from paper_repro.core.kernels.activations.erf import Erf
from paper_repro.core.kernels.activations.leaky_relu import LeakyReLU
from paper_repro.core.kernels.activations.relu import ReLU

__all__ = ["ACTIVATIONS", "Activation", "Erf", "LeakyReLU", "ReLU", "from_name", "split_name"]

ACTIVATIONS: dict[str, type[Activation]] = {"relu": ReLU, "erf": Erf, "leakyrelu": LeakyReLU}
"""By the name in lower case, as it stands at the end of an architecture's name."""


def from_name(name: str) -> Activation:
    """The activation that a name such as `relu`, `erf` or `leakyrelu0.1` means.

    Raises:
      UserError: unknown name, or a number that this activation does not take.
    """
    before, activation = split_name(name)
    if before or activation is None:
        raise UserError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return activation


def split_name(key: str) -> tuple[str, Activation | None]:
    """What is before the activation at the end of a name in lower case, and the activation.

    Example:
      >>> split_name("fc2relu")
      ('fc2', ReLU())
      >>> split_name("fc2")
      ('fc2', None)

    Raises:
      UserError: a number that this activation does not take.
    """
    # The longest first: leakyrelu ends in relu.
    names = "|".join(sorted(ACTIVATIONS, key=len, reverse=True))
    match = re.fullmatch(rf"(.*?)({names})(\d*\.?\d+)?", key)
    if match is None:
        return key, None
    before, name, number = match.groups()
    try:
        return before, ACTIVATIONS[name](*([] if number is None else [float(number)]))
    except TypeError:
        raise UserError(f"the activation {name} takes no number, not {number}") from None
