"""KIP, Label Solve and kernel ridge regression as functions: what `import paper_repro` offers."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core.data import Dataset
from paper_repro.core.krr import DIAG_REG, predict
from paper_repro.core.methods.kip import KIP, KIPConfig
from paper_repro.core.methods.label_solve import LabelSolve, LabelSolveConfig
from paper_repro.core.methods.method import Method, MethodConfig, Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Transform, fitted, usual
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import held_out

if TYPE_CHECKING:
    from paper_repro.core.kernels.kernel import Kernel


def kip(
    dataset: Dataset,
    kernel_fn: Kernel,
    images_per_class: int = 1,
    *,
    seed: int = 0,
    directory: Path | str | None = None,
    transform: Transform | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> LearnedSet:
    """Learn a support set by Kernel Inducing Points (arXiv 2011.00050, Algorithm 1).

    Args:
      dataset: a data set, as `load_dataset` returns it.
      kernel_fn: the kernel, as `network_kernel` returns it.
      images_per_class: size of the support set per class.
      seed: decides supports, batches and augmentation.
      directory: the place of the run's checkpoints, from which the same call resumes; None keeps
        nothing.
      transform: preprocessing; None for the papers': ZCA for RGB images, else standardisation.
      progress: called with (steps done, steps in all, figures such as the loss).
      **settings: fields of `KIPConfig`: steps, target_batch, learn_labels, augmentation, ...; the
        defaults are the papers', which take hours on two cores.

    Returns:
      The set: `images`, float32 (n, H, W, C), as the kernel consumes them, `labels`, float32
      (n, K), and `record`, with test accuracy and MSE in `metrics`.

    Raises:
      UserError: bad settings, or a directory of another run.
      Diverged: a loss that is not finite.

    Example:
      >>> data = load_dataset("dots", tmp_path)
      >>> kernel_fn = network_kernel("fc1")
      >>> learned = kip(data, kernel_fn, steps=4, target_batch=20, learn_labels=True)
      >>> learned.images.shape, learned.labels.shape
      ((2, 4, 4, 1), (2, 2))
    """
    config = KIPConfig(images_per_class, **settings)
    return _run(KIP(), config, dataset, kernel_fn, transform, (seed, directory, progress))


def label_solve(
    dataset: Dataset,
    kernel_fn: Kernel,
    images_per_class: int = 1,
    *,
    seed: int = 0,
    directory: Path | str | None = None,
    transform: Transform | None = None,
    progress: Progress | None = None,
    diag_reg: float = DIAG_REG,
) -> LearnedSet:
    """Solve for the labels of natural images (arXiv 2011.00050, section 3.2).

    Args:
      dataset, kernel_fn, images_per_class, seed, directory, transform, progress: see `kip`.
      diag_reg: ridge that the labels will be used with, relative to the mean diagonal.

    Returns:
      The set, as `kip` returns it; labels are float64, and `record` has no metrics.

    Raises:
      UserError: the kernel is not finite, or the directory is another run's.

    Example:
      >>> data = load_dataset("dots", tmp_path)
      >>> label_solve(data, network_kernel("fc1"), 3).labels.shape
      (6, 2)
    """
    config = LabelSolveConfig(images_per_class, diag_reg)
    return _run(LabelSolve(), config, dataset, kernel_fn, transform, (seed, directory, progress))


def krr(
    kernel_fn: Kernel, learned: LearnedSet, x: np.ndarray, diag_reg: float = DIAG_REG
) -> np.ndarray:
    """Predict by kernel ridge regression on a learned set (arXiv 2107.13034, equation 7).

    Args:
      kernel_fn: the kernel, as `network_kernel` returns it.
      learned: the set.
      x: images (n, H, W, C), preprocessed like those of the set.
      diag_reg: ridge relative to the mean of the support kernel's diagonal.

    Returns:
      Predictions, float64 (n, K), on the scale of one-hot minus 1/K: `argmax(1)` is the class.

    Raises:
      Unsolvable: the support kernel is not finite or not positive definite.

    Example:
      >>> data = load_dataset("dots", tmp_path)
      >>> kernel_fn, transform = network_kernel("fc1"), fitted(data, "standard")
      >>> learned = label_solve(data, kernel_fn, 3)
      >>> krr(kernel_fn, learned, transform.apply(data.x_test)).shape
      (8, 2)
    """
    k_ss = np.asarray(kernel_fn(learned.images))
    k_ts = np.asarray(kernel_fn(x, learned.images))
    return predict(k_ts, k_ss, learned.labels, diag_reg)


def _run(
    method: Method,
    config: MethodConfig,
    dataset: Dataset,
    kernel_fn: Kernel,
    transform: Transform | None,
    how: tuple[int, Path | str | None, Progress | None],
) -> LearnedSet:
    seed, directory, progress = how
    if transform is None:
        transform = fitted(dataset, usual(dataset))

    def held(x: np.ndarray, y: np.ndarray):
        return held_out(kernel_fn, transform, x, y, dataset.n_classes)

    x, y, validation = dataset.x_train, dataset.y_train, None
    if method.holds_out(config):
        x, y, validation = dataset.x_fit, dataset.y_fit, held(dataset.x_val, dataset.y_val)
    test = held(dataset.x_test, dataset.y_test)
    problem = Problem(x, y, dataset.n_classes, transform, validation, test, kernel_fn)
    with _place(directory) as place:
        return method.run(problem, config, seed, place, progress)


@contextlib.contextmanager
def _place(directory: Path | str | None) -> Iterator[Path]:
    if directory is not None:
        yield Path(directory)
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
