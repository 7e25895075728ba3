"""How sets are named: `cifar10-convnet-ipc10-zca-learned-noaug`."""

from __future__ import annotations

import re

PREPROCESSING = ("standard", "zca")
"""What images went through, by whether it whitens."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,95}")


def is_name(name: object) -> bool:
    """Whether `name` can name a set: one plain folder name in lower case."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def set_name(
    dataset: str, architecture: str, images_per_class: int, zca: bool, tag: str, kernel: str = "NTK"
) -> str:
    """The name of a set.

    Args:
      dataset: name of the data set.
      architecture: the kernel's architecture, as rows have it: `ConvNet`, `FC1`, ...
      images_per_class: the size of the set.
      zca: whether its images are whitened.
      tag: what the method that made the set adds: `ls`, or `labels_tag` for KIP.
      kernel: `NTK` or `NNGP`; what is not the NTK is named at the end.

    Example:
      >>> set_name("mnist", "FC1", 1, False, "ls", "NNGP")
      'mnist-fc1-ipc1-standard-ls-nngp'
    """
    parts = [dataset, architecture, f"ipc{images_per_class}", PREPROCESSING[zca], tag]
    parts += [kernel] if kernel != "NTK" else []
    return "-".join(parts).lower().replace(" ", "")


def labels_tag(learned_labels: bool, augmentation: bool) -> str:
    """What KIP adds to a name: `learned-noaug`, `fixed-aug`, ..."""
    return f"{'learned' if learned_labels else 'fixed'}-{'aug' if augmentation else 'noaug'}"
