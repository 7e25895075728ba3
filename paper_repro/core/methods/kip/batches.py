"""What a KIP step draws from (seed, step) alone: targets, the kernel, the supports it updates."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.kernels.prepared import Prepared
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.methods.kip.config import KIPConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.random import Purpose, generator


class Batches:
    """The prepared targets of a step; fixed images are prepared once, augmented ones per step."""

    def __init__(self, problem: Problem, kernel: Kernel, config: KIPConfig, seed: int):
        self._problem, self._kernel, self._config, self._seed = problem, kernel, config, seed
        self._sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
        self._y = problem.y_target

    @functools.cached_property
    def _prepared(self) -> Prepared:
        x = self._problem.transform.apply(self._problem.x_target, self._kernel.dtype)
        return self._kernel.hold(x)

    def __call__(self, step: int, kernel: Kernel) -> tuple[Prepared, np.ndarray]:
        """Targets of the step prepared for `kernel`, and their centred labels, float64 (n, K)."""
        rng = generator(self._seed, Purpose.TARGETS, step)
        rows = self._sampler.draw(self._config.target_batch, rng)
        augmentation = self._config.augmentation
        if augmentation is None and kernel is self._kernel:
            return self._prepared[rows], self._y[rows]
        raw = self._problem.x_target[rows]
        if augmentation is not None:
            raw = augmentation.apply(raw, generator(self._seed, Purpose.AUGMENTATION, step))
        x = self._problem.transform.apply(raw, kernel.dtype)
        return kernel.prepare(x), self._y[rows]


def kernel_of(step: int, seed: int, kernel: Kernel, alternatives: Sequence[Kernel]) -> Kernel:
    """The kernel of the step's update: `kernel`, or one of `alternatives` where there are any."""
    if not alternatives:
        return kernel
    drawn = generator(seed, Purpose.KERNEL, step).integers(len(alternatives))
    return alternatives[int(drawn)]


def support_rows(step: int, seed: int, config: KIPConfig, n_classes: int) -> np.ndarray | None:
    """Rows of the supports that the step updates, ordered by class as the supports are."""
    if config.support_batch is None:
        return None
    rng = generator(seed, Purpose.SUPPORT_BATCH, step)
    size = config.images_per_class
    drawn = [rng.choice(size, config.support_batch, replace=False) for _ in range(n_classes)]
    return np.concatenate([c * size + np.sort(rows) for c, rows in enumerate(drawn)])
