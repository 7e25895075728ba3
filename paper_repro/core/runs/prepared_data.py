"""A data set ready for the cells that agree on how it is preprocessed, and on the kernel."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Transform, fitted
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.runs.cell import Cell, DataCut
from paper_repro.core.sets.scoring import HeldOut, held_out
from paper_repro.core.store.files import sha256_of_array

if TYPE_CHECKING:
    from paper_repro.core.kernels.kernel import Kernel


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedData:
    """Raw images, their transform, and held-out sets as a kernel consumes them.

    Attributes:
      dataset: raw images, cut or pooled as the cell says.
      transform: fitted on all its training images.
      transform_sha256: digest of the fitted transform.
      kernel: what the kernel is.
      execution: how kernels are computed.
      cut: how much of the data is used.
    """

    dataset: Dataset
    transform: Transform
    transform_sha256: str
    kernel: KernelSpec
    execution: Execution
    cut: DataCut

    @functools.cached_property
    def kernel_fn(self) -> Kernel:
        """The kernel between preprocessed images."""
        return self.execution.kernel(self.kernel)

    @functools.cached_property
    def test(self) -> HeldOut:
        """The test set."""
        return self.test_for(self.kernel_fn)

    def test_for(self, kernel_fn: Kernel) -> HeldOut:
        """The test set, prepared for a kernel."""
        return self._held_out(kernel_fn, self.dataset.x_test, self.dataset.y_test)

    @functools.cached_property
    def validation(self) -> HeldOut:
        """The last training images, held out."""
        return self._held_out(self.kernel_fn, self.dataset.x_val, self.dataset.y_val)

    @property
    def test_images(self) -> np.ndarray:
        """Kernel inputs of the test images, for a finite network."""
        return self.transform.apply(self.dataset.x_test)

    def problem(self, cell: Cell) -> Problem:
        """What the cell's method learns from."""
        data, held = self.dataset, cell.holds_out_validation
        found = Problem(
            *(*_drawn_from(cell, data), data.n_classes, self.transform),
            dataset=data,
            is_reduced=not cell.cut.is_whole,
        )
        # A method without a kernel runs the same whatever scores its set afterwards.
        if cell.scorer.uses_kernel and not cell.method_object.trains:
            found = dataclasses.replace(found, kernel_fn=self.kernel_fn)
        if not cell.method_object.uses_kernel:
            return found
        names = cell.method_object.alternatives(cell.config)
        others = [KernelSpec(name, self.kernel.kernel) for name in names]
        return dataclasses.replace(
            found,
            validation=self.validation if held else None,
            test=self.test,
            kernel_fn=self.kernel_fn,
            alternatives=tuple(self.execution.kernel(spec) for spec in others),
        )

    def _held_out(self, kernel_fn: Kernel, x: np.ndarray, y: np.ndarray) -> HeldOut:
        return held_out(kernel_fn, self.transform, x, y, self.dataset.n_classes)


def prepared_data(cell: Cell, data_dir: Path | None, execution: Execution) -> PreparedData:
    """The data of a cell; the last two are kept, since neighbouring cells share them.

    Args:
      cell: what is to be run.
      data_dir: see `load_dataset`.
      execution: how kernels are computed.

    Raises:
      UserError: no such data set, or damaged files.
    """
    return _prepared(cell.dataset, cell.zca, cell.kernel, cell.cut, data_dir, execution)


def require_enough(cell: Cell, data: Dataset) -> None:
    """Refuse a cell that asks for more images per class than it could draw.

    Args:
      cell: what is to be run.
      data: its data set, whole.

    Raises:
      UserError: the smallest class of the images it draws from, without those held out for
        validation and those its preset leaves out, is too small.
    """
    n = cell.cut.n_train
    kept = dataclasses.replace(data, x_train=data.x_train[:n], y_train=data.y_train[:n])
    _, y = _drawn_from(cell, kept)
    smallest = int(np.bincount(y, minlength=data.n_classes).min())
    if not smallest:
        empty = int(np.bincount(y, minlength=data.n_classes).argmin())
        raise UserError(
            f"class {empty} of {data.title} has no training image: every class needs one"
        )
    if not 1 <= cell.images_per_class <= smallest:
        left_out = " but those held out for validation" if cell.holds_out_validation else ""
        raise UserError(
            f"images per class must be between 1 and {smallest}, not {cell.images_per_class}: the "
            f"smallest class has {smallest} of the {len(y):,} training images of {data.title} "
            f"that {cell.method} draws from (all{left_out})"
        )


def _drawn_from(cell: Cell, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The training images that a cell may learn from, with their labels."""
    if cell.holds_out_validation:
        return data.x_fit, data.y_fit
    return data.x_train, data.y_train


@functools.lru_cache(maxsize=2)
def _prepared(
    name: str,
    zca: bool,
    kernel: KernelSpec,
    cut: DataCut,
    data_dir: Path | None,
    execution: Execution,
) -> PreparedData:
    data = cut_data(name, cut, data_dir)
    transform = fitted(data, "zca" if zca else "standard")
    return PreparedData(data, transform, digest(transform), kernel, execution, cut)


def cut_data(name: str, cut: DataCut, data_dir: Path | None) -> Dataset:
    """A data set's first images of each split, average-pooled to `image_side` squared.

    Args:
      name: of the data set.
      cut: how much of it is used.
      data_dir: see `load_dataset`.

    Raises:
      UserError: no such data set, or damaged files.
    """
    data = load_dataset(name, data_dir)
    if cut.is_whole:
        return data
    x_train, x_test = data.x_train[: cut.n_train], data.x_test[: cut.n_test]
    if cut.image_side is not None:
        x_train, x_test = pooled(x_train, cut.image_side), pooled(x_test, cut.image_side)
    arrays = {
        "x_train": x_train,
        "y_train": data.y_train[: cut.n_train],
        "x_test": x_test,
        "y_test": data.y_test[: cut.n_test],
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
