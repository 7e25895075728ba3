"""Scoring a learned set by kernel ridge regression, and how far two scores of it may differ."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import from_name
from paper_repro.core.krr import DIAG_REG, Score, predict
from paper_repro.core.krr import score as score_predictions
from paper_repro.core.labels import centred_one_hot

if TYPE_CHECKING:  # a kernel brings JAX, half a second
    from paper_repro.core.data import Dataset
    from paper_repro.core.kernels.kernel import Kernel, Progress
    from paper_repro.core.kernels.prepared import Prepared
    from paper_repro.core.preprocess import Transform
    from paper_repro.core.sets.learned_set import LearnedSet

SAME_IMAGES = 1e-3
"""Largest difference of an accuracy on the same test images: float32 kernels on other hardware."""

Z = 3.29
"""Standard errors allowed where the test images differ: one set in 1,000 fails wrongly."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Images whose labels no gradient sees: the validation or the test set.

    Attributes:
      prepared: images as the kernel consumes them, n of them.
      y: centred labels, float64 (n, n_classes).
    """

    prepared: Prepared
    y: np.ndarray


def held_out(
    kernel_fn: Kernel,
    transform: Transform | None,
    images: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
) -> HeldOut:
    """Raw images, preprocessed and prepared for a kernel.

    Args:
      kernel_fn: the kernel that will score.
      transform: preprocessing from raw images to kernel inputs; None takes the images as they are.
      images: raw images (n, H, W, C).
      labels: their class numbers (n,).
      n_classes: K.

    Raises:
      UserError: the lengths differ, or a label is no class.
    """
    if len(images) != len(labels):
        raise UserError(f"{len(images)} images but {len(labels)} labels: they must match")
    if transform is not None:
        images = transform.apply(images, kernel_fn.dtype)
    return HeldOut(kernel_fn.hold(images), centred_one_hot(labels, n_classes))


def score(
    learned: LearnedSet,
    held_out: HeldOut,
    kernel_fn: Kernel,
    diag_reg: float = DIAG_REG,
    progress: Progress | None = None,
) -> Score:
    """KRR accuracy and MSE (0.5 factor) of a set on held-out images.

    With `reg = diag_reg * tr(K_ss) / n` the prediction is `K_ts (K_ss + reg I)^-1 y_s`, in
    float64 (arXiv 2107.13034, equation 7).

    Args:
      learned: the set; its images are kernel inputs.
      held_out: the images to predict, prepared by `kernel_fn`.
      kernel_fn: the kernel.
      diag_reg: ridge relative to the mean of the support kernel's diagonal.
      progress: called with (kernel entries done, entries in all).

    Raises:
      Unsolvable: see `krr.factorise`.
    """
    support = kernel_fn.prepare(learned.images)
    report = None
    if progress is not None:
        total = len(support) * (len(support) + len(held_out.y))

        def report(done: int, of: int) -> None:
            progress(total - of + done, total)

        progress(0, total)
    k_ss = np.asarray(kernel_fn(support))
    k_ts = np.asarray(kernel_fn(held_out.prepared, support, progress=report))
    return score_predictions(predict(k_ts, k_ss, learned.labels, diag_reg), held_out.y)


def score_by_record(
    learned: LearnedSet,
    transform: Transform,
    data: Dataset,
    rows: np.ndarray | slice = slice(None),
) -> Score:
    """KRR accuracy and MSE of a set with the kernel and the ridge that its record names.

    Args:
      learned: the set, with `architecture`, `kernel` and `diag_reg` in its record.
      transform: preprocessing from raw images to kernel inputs.
      data: the data set whose test images are predicted.
      rows: the test images to predict; all by default.

    Raises:
      UserError: an unknown architecture or kernel.
    """
    record = learned.record
    kernel_fn = from_name(record["architecture"], record["kernel"])
    test = held_out(kernel_fn, transform, data.x_test[rows], data.y_test[rows], data.n_classes)
    return score(learned, test, kernel_fn, record["diag_reg"])


def rows_to_score(n_stated: int, n_test: int | None) -> np.ndarray | slice:
    """The test images on which a stated accuracy is checked again.

    A record's accuracy is on the first `n_stated`. Fewer are spread evenly over these: the first
    thousands of a test set need not be like the rest (those of MNIST are harder).
    """
    if n_test is None or n_test >= n_stated:
        return slice(n_test or n_stated)
    return np.arange(n_test) * n_stated // n_test


def tolerance(stated: float, n_stated: int, n: int) -> float:
    """How far an accuracy on `n` test images may be from the `stated` one on `n_stated`.

    `SAME_IMAGES` where the numbers agree. Otherwise the smaller sample is part of the larger
    (`rows_to_score`), so the variance of the difference is
    p (1 - p) (1 / smaller - 1 / larger); `Z` of its standard errors are allowed.
    """
    smaller, larger = sorted((n, n_stated))
    # Wilson's centre keeps the variance away from zero at 0 and 100 %.
    p = (stated * n_stated + 2) / (n_stated + 4)
    return SAME_IMAGES + Z * math.sqrt(p * (1 - p) * (1 / smaller - 1 / larger))
