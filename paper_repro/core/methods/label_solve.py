"""Label Solve (arXiv 2011.00050, section 3.2): the support labels that minimise the KIP loss.

The loss is quadratic in y_s. With alpha = (K_ss + reg I)^-1 y_s it is least squares in alpha, so
alpha = pinv(K_ts) y_t and y_s = (K_ss + reg I) alpha. K_ts, all training images by supports, is
never whole in memory: each block of it, beside that of y_t, becomes a triangular factor (QR) where
the kernel's pool evaluates it, and two factors become one (QR of the two stacked), which keeps the
condition number of K_ts where the normal equations would square it. The factors form a binary tree
over the blocks in the order of their rows, so labels have the same bits on any number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError, WorkersGone
from paper_repro.core.kernels.pool.held import read
from paper_repro.core.krr import DIAG_REG
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.methods.method import FIRST_FIELDS, Method, MethodConfig, Pairs, Progress
from paper_repro.core.methods.problem import Problem, RawTargets, seconds_per_entry
from paper_repro.core.methods.random_draw import keep, natural_images
from paper_repro.core.preprocess import Transform
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.checkpoint import Resume

if TYPE_CHECKING:
    import scipy.linalg as linalg

    from paper_repro.core.kernels import work
    from paper_repro.core.kernels.kernel import Kernel
    from paper_repro.core.kernels.prepared import Prepared
else:
    work = lazy.module("paper_repro.core.kernels.work")
    linalg = lazy.module("scipy.linalg")

_ALL = 1 << 40
"""More targets than any data set has."""

BLOCK = 500
"""Targets per block, the leaves of the tree; it decides the last bits."""


@dataclasses.dataclass(frozen=True)
class LabelSolveConfig(MethodConfig):
    """Settings of a Label Solve.

    Attributes:
      diag_reg: ridge relative to the mean diagonal that the labels will be used with.
      n_targets: so many training images are drawn as targets, balanced over the classes; None
        takes all of them, as published.
    """

    diag_reg: float = DIAG_REG
    n_targets: int | None = None


class LabelSolve(Method):
    """Natural images whose labels are solved for against all training images."""

    procedure = "label_solve"
    title = "LS"
    summary = "a few training images with learned labels (Label Solve, LS)"
    papers = ("2107.13034", "2011.00050")
    variants: Mapping[str, Mapping[str, Any]] = {"LS": {}}
    config_type = LabelSolveConfig
    budget_fields = ("n_targets",)
    learns_images = False

    def run(
        self,
        problem: Problem,
        config: LabelSolveConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`."""
        x, _ = natural_images(problem, config.images_per_class, seed)
        images, y_target = problem.x_target, problem.y_target
        settings = {"method": self.procedure, **dataclasses.asdict(config), "tree of": BLOCK}
        if config.n_targets is None:
            del settings["n_targets"]
        else:
            sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
            rows = sampler.draw(config.n_targets, generator(seed, Purpose.TARGETS))
            images, y_target = images[rows], y_target[rows]
        resume = Resume(directory, problem.identity(settings, seed))

        def report(done: int, of: int) -> None:
            if progress is not None:
                progress(done, of, {})

        y = label_solve(
            problem.kernel_fn,
            x,
            images,
            y_target,
            problem.transform,
            config.diag_reg,
            progress=report,
            resume=resume,
        )
        keep(directory, x, y)
        fewer = len(y_target) < len(problem.labels)
        budget = {"n_targets": len(y_target), "reduced": problem.is_reduced or fewer}
        return LearnedSet.of(x, y, {"step": None, "seconds": resume.seconds, "budget": budget})

    def recorded(self, config: LabelSolveConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        return {**FIRST_FIELDS, "learned_labels": True, **super().recorded(config)}

    def tag(self, config: LabelSolveConfig) -> str:
        """See `Method.tag`."""
        return "ls"

    def learns_labels(self, config: LabelSolveConfig) -> bool:
        """See `Method.learns_labels`."""
        return True

    def pairs(self, config: LabelSolveConfig, n_support: int, n_train: int) -> Pairs:
        """See `Method.pairs`."""
        return Pairs(scored=n_support * (config.n_targets or n_train))

    def within(
        self, problem: Problem, config: LabelSolveConfig, seconds: float
    ) -> LabelSolveConfig:
        """See `Method.within`: as many targets as fit, all of them if they do."""
        n_support = config.images_per_class * problem.n_classes
        fitting = int(seconds / (seconds_per_entry(problem) * n_support))
        if fitting >= len(problem.labels):
            return config
        return dataclasses.replace(config, n_targets=max(n_support, fitting))

    def work(self, config: LabelSolveConfig) -> int:
        """See `Method.work`."""
        return _ALL if config.n_targets is None else config.n_targets

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        return f"all {n_train:,} targets"


def label_solve(
    kernel: Kernel,
    x_support: np.ndarray,
    images: np.ndarray,
    y_target: np.ndarray,
    transform: Transform,
    diag_reg: float = DIAG_REG,
    progress: Callable[[int, int], None] | None = None,
    resume: Resume | None = None,
) -> np.ndarray:
    """Optimal labels of fixed support images.

    Args:
      kernel: the kernel between preprocessed images.
      x_support: kernel inputs (n_support, ...).
      images: raw target images (n, H, W, C), all of the training set.
      y_target: their centred labels (n, n_classes).
      transform: preprocessing from raw images to kernel inputs, applied block by block.
      diag_reg: ridge that the labels will be used with.
      progress: called with (targets done, targets in all).
      resume: the state of an interrupted call, and where this one keeps its own; a call that
        goes on ends in the same labels, bit for bit, on the same machine.

    Returns:
      y_support, float64 (n_support, n_classes). Directions of K_ts with singular values below
      rounding (relative to the largest: eps of the kernel's dtype, at least n_support times that
      of float64) are left out, as in a pseudo-inverse.

    Raises:
      UserError: the lengths of images and labels differ, or the kernel is not finite.
    """
    if len(images) != len(y_target):
        raise UserError(f"{len(images)} images but {len(y_target)} labels: they must match")
    if not len(images):
        raise UserError("no target images: Label Solve needs at least one")
    support = kernel.prepare(x_support)
    factor = triangular_factor(kernel, support, images, y_target, transform, progress, resume)
    return labels_of(factor, kernel, support, diag_reg)


def labels_of(
    factor: np.ndarray, kernel: Kernel, support: Prepared, diag_reg: float = DIAG_REG
) -> np.ndarray:
    """The labels, float64 (n_support, n_classes), of a `triangular_factor`; see `label_solve`."""
    n_support = len(support)
    alpha, *_ = linalg.lstsq(
        factor[:, :n_support],
        factor[:, n_support:],
        cond=rounding(kernel.dtype, len(factor)),
        check_finite=False,
    )
    k_ss = np.asarray(kernel(support), np.float64)
    return k_ss @ alpha + diag_reg * np.trace(k_ss) / n_support * alpha


def triangular_factor(
    kernel: Kernel,
    support: Prepared,
    images: np.ndarray,
    y_target: np.ndarray,
    transform: Transform,
    progress: Callable[[int, int], None] | None = None,
    resume: Resume | None = None,
) -> np.ndarray:
    """R of the QR factorisation of [K_ts, y_t], float64, its columns those of the two.

    The first n_support columns have the singular values of K_ts. Arguments and errors as in
    `label_solve`.
    """
    y_target = np.asarray(y_target, np.float64)
    tree, first = _Tree(), 0
    if resume is not None and resume.found is not None:
        tree = _Tree(resume.found.tensors)
        first = int(resume.found.metadata["n_done"])
    # What an interrupt saves: replaced as one, so that a factor and its number belong together.
    kept, pool = (tree, first), kernel.pool
    held = pool.hold(RawTargets(images, transform))
    places = [slice(a, min(a + BLOCK, len(images))) for a in range(first, len(images), BLOCK)]
    leaves = pool.map(_leaf, ((kernel, support, held[rows], y_target[rows]) for rows in places))

    def save() -> None:
        tree, done = kept
        if resume is not None and done:
            resume.save(tree.tensors, n_done=str(done))

    try:
        for rows, leaf in zip(places, leaves, strict=True):
            if not np.isfinite(leaf).all():
                raise UserError("the kernel has NaN or infinite entries: check the images")
            kept = kept[0].plus(leaf), rows.stop
            if resume is not None and resume.is_due:
                save()
            if progress is not None:
                progress(rows.stop, len(images))
    except (KeyboardInterrupt, WorkersGone):
        save()
        raise
    return kept[0].root


class _Tree:
    """Triangular factors of neighbouring blocks, two of one level combined at once.

    So there is at most one of a level, and which are combined follows from their number alone.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray] = MappingProxyType({})):
        levels = {int(name.removeprefix("level_")): factor for name, factor in tensors.items()}
        self._factors = sorted(levels.items(), key=lambda item: -item[0])

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The factors by level, for a checkpoint."""
        return {f"level_{level}": factor for level, factor in self._factors}

    def plus(self, factor: np.ndarray) -> _Tree:
        """The tree with the factor of the next block; this one stays as it is."""
        level, factors = 0, list(self._factors)
        while factors and factors[-1][0] == level:
            factor, level = _factor(factors.pop()[1], factor), level + 1
        return _Tree({f"level_{level}": factor for level, factor in [*factors, (level, factor)]})

    @property
    def root(self) -> np.ndarray:
        """The factor of all blocks."""
        factors = [factor for _, factor in self._factors]
        while len(factors) > 1:
            last = factors.pop()
            factors[-1] = _factor(factors[-1], last)
        return factors[0]


def _leaf(kernel, support, targets, y_target) -> np.ndarray:
    """R of [K_ts, y_t] of a block of targets, or NaN where K_ts is not finite."""
    raw, support = read(targets), read(support)
    x = raw.transform.apply(raw.images, kernel.dtype)
    k_ts = np.asarray(work.one_block(kernel, x, support), np.float64)
    if not np.isfinite(k_ts).all():
        return np.full(_shape_of_leaf(kernel, support, targets, y_target), np.nan)
    return _factor(np.hstack([k_ts, y_target]))


def _shape_of_leaf(kernel, support, targets, y_target) -> tuple[int, int]:
    columns = len(support) + y_target.shape[1]
    return min(len(y_target), columns), columns


_leaf.shape_of = _shape_of_leaf


def _factor(*blocks: np.ndarray) -> np.ndarray:
    """R of blocks of rows stacked."""
    stacked = np.vstack(blocks)
    (factor,) = linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)
    return factor[: stacked.shape[1]]


def rounding(dtype: np.dtype, n_rows: int) -> float:
    """Singular values below this fraction of the largest are taken for zero.

    That of the kernel's entries, or of the float64 factorisation of a triangle of `n_rows`.
    """
    return float(max(np.finfo(dtype).eps, n_rows * np.finfo(np.float64).eps))
