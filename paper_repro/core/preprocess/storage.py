"""Transforms as safetensors files that carry their own test vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.affine import Affine
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.transform import Transform
from paper_repro.core.preprocess.zca import ZCA
from paper_repro.core.store import checkpoint

TEST_TOLERANCE = 1e-6
"""How closely a loaded transform must reproduce its stored test vector (absolute, float64)."""


def test_image(image_shape: tuple[int, int, int]) -> np.ndarray:
    """The input of test vectors: pixel (7 r + 13 c + 29 ch + r c) mod 256, uint8 (1, H, W, C).

    A formula rather than a photograph, so that anyone can make it in any language.
    """
    r, c, ch = np.indices(image_shape)
    return ((7 * r + 13 * c + 29 * ch + r * c) % 256).astype(np.uint8)[None]


def save(transform: Transform, path: Path) -> None:
    """Write a transform with its settings and test vector, atomically, as a checkpoint."""
    image = test_image(transform.image_shape)
    output = transform.apply(image, np.float64)
    tensors = {**transform.tensors, "test_input": image, "test_output": output}
    checkpoint.save(path, tensors, transform.settings)


def load(path: Path) -> Transform:
    """Read a transform and check its digest, and that it still reproduces its test vector.

    Raises:
      UserError: missing, truncated, changed or foreign file, or a test vector that does not hold.
    """
    if not path.exists():
        raise UserError(f"no transform at {path}")
    try:
        kept = checkpoint.load(path)
        transform = _build(kept.metadata, kept.tensors)
        expected = kept.tensors["test_output"]
        got = transform.apply(kept.tensors["test_input"], np.float64)
    except (UserError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable transform ({error}): restore it or fetch it again"
        ) from error
    if not np.allclose(got, expected, rtol=0, atol=TEST_TOLERANCE):
        raise UserError(
            f"the transform in {path} does not reproduce its own test vector (off by "
            f"{np.max(np.abs(got - expected)):.1e}): the file is damaged, restore it"
        )
    return transform


def _build(settings: dict[str, str], tensors: dict[str, np.ndarray]) -> Transform:
    shape = tuple(int(side) for side in settings["image_shape"].split("x"))
    standard = Standard(tensors["mean"], tensors["std"], shape)
    if settings["kind"] == "standard":
        return standard
    if settings["kind"] == "affine":
        return Affine(
            standard,
            settings["unit_norm"] == "true",
            tensors.get("centre"),
            tensors.get("matrix"),
            float(settings["mean_norm"]),
            settings["name"],
            settings["source"],
        )
    if settings["kind"] == "zca":
        return ZCA(
            standard,
            tensors["eigenvalues"],
            tensors["eigenvectors"],
            float(settings["regularisation"]),
            float(settings["mean_norm"]),
        )
    raise ValueError(f"unknown kind {settings['kind']!r}")
