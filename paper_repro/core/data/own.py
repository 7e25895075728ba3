"""Images of one's own, from arrays to a `<name>.npz` that every script reads by `--data-dir`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.data.arrays import MIN_TRAIN, normalise
from paper_repro.core.data.dataset import Dataset
from paper_repro.core.data.load import load_dataset
from paper_repro.core.data.npz import write_npz
from paper_repro.core.data.registry import find
from paper_repro.core.errors import UserError

MOST_CLASSES = 256
"""Labels are stored as uint8."""

DATASET_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
"""What a release can call a data set."""


def write_own(
    path: str | os.PathLike[str],
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Split arrays into training and test images and write them where `load_dataset` finds them.

    Each class gives `test_fraction` of its images, at least one, to the test set; both sets are
    shuffled, so that the last training images, the validation split, are of all classes.

    Args:
      path: `<directory>/<name>.npz`; the name is what `--datasets` takes, the directory what
        `--data-dir` takes. A file that is there is replaced.
      images: uint8 (n, H, W) or (n, H, W, C), C 1 or 3.
      labels: class numbers (n,), from 0 without gaps.
      class_names: K names, by label; the numbers when None.
      test_fraction: the part of each class that goes to the test set, between 0 and 1.
      seed: decides the split.

    Returns:
      The data set as `load_dataset` reads it.

    Raises:
      UserError: arrays of another type or shape, a class without images or with one alone, too few
        images, or an official data set's name; says what to change.
    """
    path = Path(path).expanduser()
    if path.suffix != ".npz" or find(path.stem) is not None:
        raise UserError(
            f"{path} cannot hold images of your own: take <directory>/<name>.npz, with a name that "
            "is none of the official data sets"
        )
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction must be between 0 and 1, not {test_fraction}")
    if seed < 0:
        raise UserError(f"the seed must not be negative, got {seed}")
    images, labels = _images(_array(images, "images")), _array(labels, "labels")
    if labels.ndim and len(images) != len(labels):
        raise UserError(f"{len(images)} images but {len(labels)} labels: give one label per image")
    labels = _labels(labels)
    names = _names(labels, class_names)
    train, test = _split(labels, names, test_fraction, np.random.default_rng(seed))
    require_releasable(path.stem, names)
    arrays = {
        "x_train": images[train],
        "y_train": labels[train],
        "x_test": images[test],
        "y_test": labels[test],
    }
    arrays = normalise(arrays, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {**arrays, "class_names": np.array(names)})
    return load_dataset(path.stem, path.parent)


def require_releasable(name: str, class_names: Sequence[str]) -> None:
    """Refuse what a release could not carry, before hours are spent on it.

    Raises:
      UserError: a data set's name with other characters than a-z, 0-9 and underscores, fewer than
        two classes, or class names that are not distinct printable texts.
    """
    if not DATASET_NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a data set: take up to 64 of a-z, 0-9 and underscores, as in "
            "my_shapes.npz"
        )
    if len(class_names) < 2:
        raise UserError(f"{len(class_names)} class: at least two are needed")
    if len(set(class_names)) < len(class_names):
        raise UserError("two classes have the same name: give each its own")
    if not all(text and text.isprintable() for text in class_names):
        raise UserError("a class name is empty or not printable: give each a plain text")


def _array(values: np.ndarray, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(
            f"the {what} are no array ({error}): bring all of them to one shape first"
        ) from error


def _images(images: np.ndarray) -> np.ndarray:
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise UserError(
                "the images have NaN or infinite values: mend or leave out those images"
            )
        unit = not images.size or (images.min() >= 0 and images.max() <= 1)
        change = "(255 * images).round()" if unit else "images.round().clip(0, 255)"
        raise UserError(
            f"the images are {images.dtype}, they must be raw uint8 from 0 to 255: pass "
            f"{change}.astype('uint8')"
        )
    if images.dtype == np.bool_:
        raise UserError("the images are bool: pass 255 * images.astype('uint8')")
    if images.dtype != np.uint8:
        raise UserError(
            f"the images are {images.dtype}, they must be raw uint8 from 0 to 255: pass "
            "images.astype('uint8') if that is their range"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise UserError(
            f"the images have shape {images.shape}, channels first: pass "
            "images.transpose(0, 2, 3, 1)"
        )
    if images.ndim == 4 and images.shape[3] == 4:
        raise UserError(
            f"the images have shape {images.shape}, four channels: pass images[..., :3] if the "
            "last one is transparency"
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"the images have shape {images.shape}, they must be (n, height, width) or "
            "(n, height, width, channels) with 1 or 3 channels"
        )
    return images


def _labels(labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise UserError(
            f"the labels have shape {labels.shape}, they must be one class number per image, (n,): "
            "pass labels.argmax(1) if they are one-hot"
        )
    if labels.ndim == 2:
        raise UserError(f"the labels have shape {labels.shape}: pass labels[:, 0]")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"the labels have shape {labels.shape} and dtype {labels.dtype}, they must be one "
            "whole number an image: if they are names, pass "
            "np.unique(labels, return_inverse=True)[1]"
        )
    if n := int((labels < 0).sum()):
        raise UserError(
            f"{n} of {len(labels)} labels are negative, as where the class is not known: leave "
            "those images out, as images[labels >= 0] and labels[labels >= 0] do, or number the "
            "classes from 0"
        )
    if labels.size and labels.max() >= MOST_CLASSES:
        raise UserError(
            f"the labels range from {labels.min()} to {labels.max()}, they must count from 0 and "
            f"stay below {MOST_CLASSES}: pass np.unique(labels, return_inverse=True)[1]"
        )
    return labels


def _names(labels: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    n_classes = int(labels.max(initial=0)) + 1
    names = [str(n) for n in (range(n_classes) if class_names is None else class_names)]
    if len(names) < n_classes:
        raise UserError(f"{len(names)} class_names for the labels 0 to {n_classes - 1}")
    return names


def _split(
    labels: np.ndarray, names: Sequence[str], test_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled row numbers of the training and of the test images."""
    counts = np.bincount(labels, minlength=len(names))
    few = [f"{names[c]!r} (label {c})" for c in np.flatnonzero(counts < 2)]
    if len(labels) < MIN_TRAIN + len(names):
        raise UserError(
            f"{len(labels)} images in total: at least {MIN_TRAIN} for training and one of each of "
            f"the {len(names)} classes for testing are needed, so add images"
        )
    if few:
        raise UserError(
            f"fewer than two images of class {', '.join(few)}: one is needed for training and one "
            "for testing, so add images, or leave the class out and number the others without "
            "gaps, as np.unique(labels, return_inverse=True)[1] does"
        )
    test = []
    for c, count in enumerate(counts):
        share = min(max(1, round(test_fraction * count)), count - 1)
        test.append(rng.choice(np.flatnonzero(labels == c), share, replace=False))
    test = rng.permutation(np.concatenate(test))
    train = rng.permutation(np.setdiff1d(np.arange(len(labels)), test))
    return train, test
