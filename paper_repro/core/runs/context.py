"""What the runs on one data set share: raw images, transform, kernel, held-out sets."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.kernels import from_name
from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Transform, fitted
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.runs.cell import Cell
from paper_repro.core.sets.scoring import HeldOut, held_out
from paper_repro.core.store.files import sha256_of_array


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """A data set ready for the cells that agree on how it is preprocessed.

    Attributes:
      dataset: raw images, cut or pooled as the cell says.
      transform: fitted on all its training images.
      transform_sha256: digest of the fitted transform.
      kernel: between preprocessed images.
    """

    dataset: Dataset
    transform: Transform
    transform_sha256: str
    kernel: Kernel

    def problem(self, validated: bool) -> Problem:
        """Targets with the test set; `validated` holds out the validation images."""
        data = self.dataset
        x, y = (data.x_fit, data.y_fit) if validated else (data.x_train, data.y_train)
        validation = self.validation if validated else None
        return Problem(x, y, data.n_classes, self.transform, validation, self.test)

    @functools.cached_property
    def test(self) -> HeldOut:
        """The test set."""
        return self._held_out(self.dataset.x_test, self.dataset.y_test)

    @functools.cached_property
    def validation(self) -> HeldOut:
        """The last training images, held out."""
        return self._held_out(self.dataset.x_val, self.dataset.y_val)

    @property
    def test_images(self) -> np.ndarray:
        """Kernel inputs of the test images, for a finite network."""
        return self.transform.apply(self.dataset.x_test)

    def _held_out(self, x: np.ndarray, y: np.ndarray) -> HeldOut:
        return held_out(self.kernel, self.transform, x, y, self.dataset.n_classes)


def context(cell: Cell, data_dir: Path | None) -> Context:
    """The context of a cell; the last one is kept, since neighbouring cells share it."""
    return _context(
        cell.dataset,
        cell.zca,
        cell.architecture,
        cell.kernel,
        cell.n_train,
        cell.n_test,
        cell.image_side,
        data_dir,
    )


@functools.lru_cache(maxsize=1)
def _context(name, zca, architecture, kernel, n_train, n_test, image_side, data_dir) -> Context:
    data = _reduced(load_dataset(name, data_dir), n_train, n_test, image_side)
    transform = fitted(data, "zca" if zca else "standard")
    return Context(data, transform, digest(transform), from_name(architecture, kernel))


def _reduced(data: Dataset, n_train: int | None, n_test: int | None, side: int | None) -> Dataset:
    """The first images of each split, average-pooled to `side` x `side`."""
    if n_train is None and n_test is None and side is None:
        return data
    x_train, x_test = data.x_train[:n_train], data.x_test[:n_test]
    if side is not None:
        x_train, x_test = pooled(x_train, side), pooled(x_test, side)
    arrays = {
        "x_train": x_train,
        "y_train": data.y_train[:n_train],
        "x_test": x_test,
        "y_test": data.y_test[:n_test],
    }
    digests = {name: sha256_of_array(array) for name, array in arrays.items()}
    return dataclasses.replace(data, **arrays, array_sha256=digests)


def pooled(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 (n, H, W, C) averaged to (n, side, side, C); sides need not divide."""
    for axis in (1, 2):
        size = images.shape[axis]
        edges = np.arange(side) * size // side
        counts = np.diff(np.append(edges, size))
        shape = [1, 1, 1, 1]
        shape[axis] = side
        images = np.add.reduceat(images, edges, axis=axis, dtype=np.float64) / counts.reshape(shape)
    return np.rint(images).astype(np.uint8)
