"""Is this the official data set? Shapes, label counts, block order and SHA-256."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paper_repro.core.data.arrays import KEYS, digests, normalise
from paper_repro.core.data.registry import Spec
from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_array


def verify(
    spec: Spec, arrays: Mapping[str, np.ndarray], where: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the four arrays as the official archive orders them, with their digests.

    Training blocks in another order (as on the Hub, for CIFAR-10) are put back.

    Raises:
      UserError: the arrays are not those of `spec`; the message starts with `where`.
    """
    arrays = normalise(arrays, where)
    _check_shapes(spec, arrays, where)
    found = digests(arrays)
    if spec.sha256 is None:
        return arrays, found
    if spec.block_sha256 and found["x_train"] != spec.sha256["x_train"]:
        order = official_order(arrays["x_train"], spec.block_sha256)
        if order is not None:
            for key in ("x_train", "y_train"):
                arrays[key] = permute_blocks(arrays[key], order)
            found = digests(arrays)
    for key in KEYS:
        if found[key] != spec.sha256[key]:
            raise UserError(
                f"{where} is not the official {spec.title}: SHA-256 of {key} is {found[key]}, "
                f"expected {spec.sha256[key]}; fetch it again, or give a set of your own "
                "another name"
            )
    return arrays, found


def _check_shapes(spec: Spec, arrays: Mapping[str, np.ndarray], where: str) -> None:
    for split, count in (("train", spec.n_train), ("test", spec.n_test)):
        shape, expected = arrays[f"x_{split}"].shape, (count, *spec.image_shape)
        if shape != expected:
            raise UserError(
                f"{where} is not the official {spec.title}: x_{split} has shape {shape}, "
                f"expected {expected}; give a set of your own another name"
            )
        labels, n_classes = arrays[f"y_{split}"], len(spec.class_names)
        if int(labels.max()) >= n_classes:
            raise UserError(
                f"{where}: y_{split} holds the label {labels.max()}, {spec.title} has "
                f"{n_classes} classes counted from 0"
            )
        if spec.class_counts is not None:
            counts = tuple(np.bincount(labels, minlength=n_classes).tolist())
            if counts != spec.class_counts[f"y_{split}"]:
                raise UserError(
                    f"{where} is not the official {spec.title}: y_{split} has {counts} images a "
                    f"class, expected {spec.class_counts[f'y_{split}']}"
                )


def official_order(x_train: np.ndarray, block_sha256: Sequence[str]) -> list[int] | None:
    """For each official block, the position at which `x_train` holds it; None if one is absent.

    `x_train` is cut into `len(block_sha256)` equal blocks of rows and each is recognised by its
    SHA-256, which takes one pass instead of one for every permutation.
    """
    if len(x_train) % len(block_sha256):
        return None
    blocks = np.split(x_train, len(block_sha256))
    position = {sha256_of_array(block): i for i, block in enumerate(blocks)}
    order = [position.get(digest) for digest in block_sha256]
    return None if None in order else order


def permute_blocks(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Cut `array` into `len(order)` equal blocks of rows and join them in that order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[i] for i in order])
