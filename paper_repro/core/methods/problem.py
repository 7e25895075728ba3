"""What a method distils: training images with their transform and kernel, and held-out sets."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core.data import Dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.pool import WHOLE_STEP
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.preprocess import Transform
from paper_repro.core.sets.scoring import HeldOut
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.row_schema import config_hash

if TYPE_CHECKING:
    from paper_repro.core.kernels.kernel import Kernel


@dataclasses.dataclass(frozen=True, eq=False)
class RawTargets:
    """Raw images with what makes kernel inputs of them, as a pool holds them.

    Attributes:
      images: raw images (n, H, W, C).
      transform: from raw images to kernel inputs.
    """

    images: np.ndarray
    transform: Transform

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the images."""
        return self.images.shape

    def __getitem__(self, rows: slice | np.ndarray) -> RawTargets:
        """Those of `rows`."""
        return dataclasses.replace(self, images=self.images[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Everything that a method knows about a data set.

    Attributes:
      x_target: raw training images (n, H, W, C) that serve as targets and initial supports.
      labels: their class numbers (n,).
      n_classes: K.
      transform: preprocessing from raw images to kernel inputs.
      validation: held-out training images, or None.
      test: the test set, or None.
      kernel_fn: the kernel that a kernel method learns through; None for the others.
      alternatives: kernels of which every KIP step draws one for its update, in place of
        `kernel_fn` (arXiv 2107.13034, section 3.1, random architectures).
      dataset: the data set that the images are of, for what its records say; None where they
        come from elsewhere.
      is_reduced: the images are fewer or smaller than those of the data set.
    """

    x_target: np.ndarray
    labels: np.ndarray
    n_classes: int
    transform: Transform
    validation: HeldOut | None = None
    test: HeldOut | None = None
    kernel_fn: Kernel | None = None
    alternatives: Sequence[Kernel] = ()
    dataset: Dataset | None = None
    is_reduced: bool = False

    def __post_init__(self):
        if len(self.x_target) != len(self.labels):
            raise UserError(
                f"{len(self.x_target)} target images but {len(self.labels)} labels: they must match"
            )

    @property
    def y_target(self) -> np.ndarray:
        """Centred labels of the targets, float64 (n, n_classes)."""
        return centred_one_hot(self.labels, self.n_classes)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of kernel inputs: that of the kernel's entries, float32 without one."""
        return np.dtype(np.float32) if self.kernel_fn is None else self.kernel_fn.dtype

    def identity(self, settings: Mapping[str, Any], seed: int) -> str:
        """A digest of what decides the bits of a run, but for the last bits of a fitted ZCA.

        Args:
          settings: the method's settings, plain values.
          seed: the run's seed.
        """
        kernels = [k for k in (self.kernel_fn, *self.alternatives) if k is not None]
        fitted = self.transform.tensors
        held_out = [s.y for s in (self.validation, self.test) if s is not None]
        arrays = (self.x_target, self.labels, fitted["mean"], fitted["std"], *held_out)
        return config_hash(
            {
                "config": settings,
                "of": seed,
                "kernels": [[k.definition, dict(k.parameters), *_cut(k)] for k in kernels],
                "data": [sha256_of_array(np.ascontiguousarray(a)) for a in arrays],
                "transform": self.transform.settings,
            }
        )


def _cut(kernel: Kernel) -> list[tuple[int, int]]:
    """How gradients are cut, which decides the order of sums; nothing for a step in one block."""
    cut = kernel.gradient_cut
    return [] if cut == WHOLE_STEP else [cut]


_ROWS, _IMAGES, _TIMED = 10, 200, 0.5


def seconds_per_entry(problem: Problem) -> float:
    """What a kernel entry without its gradient takes on this machine, measured now."""
    kernel = problem.kernel_fn
    x = kernel.prepare(problem.transform.apply(problem.x_target[:_IMAGES], kernel.dtype))
    np.asarray(kernel(x[:_ROWS], x))  # compiles
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < _TIMED:
        np.asarray(kernel(x[:_ROWS], x))
        calls += 1
    return (time.perf_counter() - started) / (calls * _ROWS * len(x))
