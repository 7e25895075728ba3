"""A loaded data set: raw uint8 images, labels, names and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from paper_repro.core.data.arrays import combined_digest
from paper_repro.core.data.registry import Spec

VALIDATION_SIZE = 5000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw images and labels in the order of the official archive.

    The last 5,000 training images (at most a tenth of them, for a tiny set) are validation:
    `x_fit`, `y_fit`, `x_val` and `y_val` are views of the training arrays.
    """

    name: str  # "cifar10": as in file names and result rows
    title: str  # "CIFAR-10": as in tables
    x_train: np.ndarray  # uint8 (n_train, H, W, C)
    y_train: np.ndarray  # uint8 (n_train,)
    x_test: np.ndarray  # uint8 (n_test, H, W, C)
    y_test: np.ndarray  # uint8 (n_test,)
    class_names: tuple[str, ...]  # K names, by label
    source: str  # where the arrays were fetched from
    array_sha256: Mapping[str, str]  # hex SHA-256 of each of the four arrays' bytes

    @classmethod
    def official(
        cls,
        spec: Spec,
        arrays: Mapping[str, np.ndarray],
        array_sha256: Mapping[str, str],
        source: str,
    ) -> Self:
        """The data set of `spec`, of arrays that `verify` returned."""
        return cls(
            name=spec.name,
            title=spec.title,
            x_train=arrays["x_train"],
            y_train=arrays["y_train"],
            x_test=arrays["x_test"],
            y_test=arrays["y_test"],
            class_names=spec.class_names,
            source=source,
            array_sha256=array_sha256,
        )

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.x_train.shape[1:])
        return (
            f"<Dataset {self.name}: {len(self.x_train):,} training and {len(self.x_test):,} test "
            f"images, {shape}, {self.n_classes} classes>"
        )

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.x_train.shape[1:]

    @property
    def data_sha256(self) -> str:
        """One hex SHA-256 over the digests of the four arrays."""
        return combined_digest(self.array_sha256)

    @property
    def n_validation(self) -> int:
        """Size of the validation split."""
        return min(VALIDATION_SIZE, len(self.x_train) // 10)

    @property
    def x_fit(self) -> np.ndarray:
        """Training images without the validation split, a view."""
        return self.x_train[: -self.n_validation]

    @property
    def y_fit(self) -> np.ndarray:
        """Training labels without the validation split, a view."""
        return self.y_train[: -self.n_validation]

    @property
    def x_val(self) -> np.ndarray:
        """Validation images: the last `n_validation` training images, a view."""
        return self.x_train[-self.n_validation :]

    @property
    def y_val(self) -> np.ndarray:
        """Validation labels, a view."""
        return self.y_train[-self.n_validation :]
