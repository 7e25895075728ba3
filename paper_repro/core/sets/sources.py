"""Where the arrays of a learned set are: in memory, a checkpoint file or an npz."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from paper_repro.core.data.arrays import plain_numbers
from paper_repro.core.data.notice import say
from paper_repro.core.data.npz import read_npz
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot, on_centred_scale
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_file


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """The arrays of a set.

    Attributes:
      images: (n, H, W, C).
      labels: (n, K).
      classes: int64 (n,), the class that each image stands for; None where it is not stated.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: np.ndarray | None = None


class Source(Protocol):
    """Where the arrays of a set are."""

    @property
    def path(self) -> Path | None:
        """The file; None for arrays in memory."""

    def read(self) -> Arrays:
        """The arrays, checked."""


@dataclasses.dataclass(frozen=True, eq=False)
class InMemory:
    """Arrays that are at hand."""

    arrays: Arrays
    path: Path | None = None

    def read(self) -> Arrays:
        """The arrays."""
        return self.arrays


@dataclasses.dataclass(frozen=True)
class CheckpointFile:
    """A safetensors file with the tensors `images` and `labels`.

    Attributes:
      path: the file.
      sha256: SHA-256 of the file by the set's record.
    """

    path: Path
    sha256: str

    def read(self) -> Arrays:
        """The arrays.

        Raises:
          UserError: the file is missing, damaged, or not the one that the record names.
        """
        found = checkpoint.load(self.path).tensors
        if sha256_of_file(self.path) != self.sha256:
            raise UserError(
                f"{self.path} is not the file its record names: restore or export it again"
            )
        if missing := [name for name in ("images", "labels") if name not in found]:
            raise UserError(f"{self.path} has no tensor {missing[0]!r}: export it again")
        return Arrays(found["images"], found["labels"])


@dataclasses.dataclass(frozen=True)
class NpzFile:
    """An npz with the official keys `images` and `labels`, and optionally `classes`.

    Attributes:
      path: the file.
      image_shape: (H, W, C) of the data set; NCHW images are transposed to it.
      n_classes: K. Labels are (n, K), see `labels.on_centred_scale`, or class numbers (n,) or
        (n, 1), of any numeric dtype.
    """

    path: Path
    image_shape: tuple[int, ...]
    n_classes: int

    def read(self) -> Arrays:
        """The arrays, labels in float64 on the scale of one-hot minus 1/K.

        Prints one line where the labels were brought there, or where their scale is not clear.

        Raises:
          UserError: not such a file, a dtype that holds no numbers, shapes that do not fit the
            data set, or values that are not finite.
        """
        try:
            arrays = read_npz(self.path, ("images", "labels"), ("classes",))
        except FileNotFoundError as error:
            raise UserError(f"no support set at {self.path}") from error
        arrays = {
            name: plain_numbers(array, f"{self.path}: the {name}") for name, array in arrays.items()
        }
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise UserError(f"{self.path}: the {name} have NaN or infinite values")
        images = self._images(arrays["images"])
        labels = self._labels(arrays["labels"], len(images))
        classes = arrays.get("classes")
        if classes is not None:
            classes = _class_numbers(classes)
            if classes is None or len(classes) != len(images):
                raise UserError(f"{self.path}: classes must be {len(images)} class numbers")
        return Arrays(np.ascontiguousarray(images), labels, classes)

    def _labels(self, labels: np.ndarray, n: int) -> np.ndarray:
        numbers = _class_numbers(labels)
        if numbers is not None and len(numbers) == n:
            try:
                return centred_one_hot(numbers, self.n_classes)
            except UserError as error:
                raise UserError(f"{self.path}: {error}") from error
        if labels.shape != (n, self.n_classes):
            raise UserError(
                f"{self.path}: labels {labels.shape} do not fit {n} images of {self.n_classes} "
                f"classes: give {(n, self.n_classes)}, or one class number an image"
            )
        labels, remark = on_centred_scale(labels)
        if remark:
            say(f"note: {self.path.name}: {remark}")
        return labels

    def _images(self, images: np.ndarray) -> np.ndarray:
        height, width, channels = self.image_shape
        if images.ndim == 3 and channels == 1:
            images = images[..., None]
        if images.shape[1:] == (channels, height, width) != tuple(self.image_shape):
            images = images.transpose(0, 2, 3, 1)
        if not len(images):
            raise UserError(f"{self.path} holds no images")
        if images.shape[1:] != tuple(self.image_shape):
            raise UserError(
                f"{self.path}: images {images.shape} do not fit the data set, whose images are "
                f"{tuple(self.image_shape)} (NHWC) or {(channels, height, width)} (NCHW): choose "
                "the data set that they are of, for evaluate by --dataset"
            )
        return images


def _class_numbers(values: np.ndarray) -> np.ndarray | None:
    """int64 (n,) of whole numbers (n,) or (n, 1); None if `values` are no such numbers."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or (values != np.rint(values)).any():
        return None
    return values.astype(np.int64)
