"""What a KIP step draws from (seed, step) alone: targets, the kernel, the supports it updates."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.kernels.pool.held import RemoteImages, read
from paper_repro.core.kernels.prepared import Prepared
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.methods.kip.config import KIPConfig
from paper_repro.core.methods.problem import Problem, RawTargets
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.random import Purpose, generator


class Batches:
    """The targets of a step; fixed images are prepared once, augmented ones per step.

    Augmented ones are made block by block where a block is evaluated, from the raw images there.
    So are fixed ones of a run that is too short to look at all of them: to whiten a data set would
    take longer than its steps.
    """

    def __init__(self, problem: Problem, kernel: Kernel, config: KIPConfig, seed: int):
        self._problem, self._kernel, self._config, self._seed = problem, kernel, config, seed
        self._sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
        self._y = problem.y_target
        # Of the first cycle: a run with more steps that takes it over goes on with the same bits.
        drawn = (config.restart_at or config.steps) * config.target_batch
        self._are_kept = config.augmentation is None and drawn >= len(problem.x_target)

    @functools.cached_property
    def _prepared(self) -> Prepared | RemoteImages:
        x = self._problem.transform.apply(self._problem.x_target, self._kernel.dtype)
        return self._kernel.hold(x)

    @functools.cached_property
    def _raw(self) -> RawTargets | RemoteImages:
        problem = self._problem
        return self._kernel.pool.hold(RawTargets(problem.x_target, problem.transform))

    def __call__(self, step: int, kernel: Kernel) -> tuple[Prepared | RemoteImages, np.ndarray]:
        """Targets of the step for `kernel`, and their centred labels, float64 (n, K)."""
        rng = generator(self._seed, Purpose.TARGETS, step)
        rows = self._sampler.draw(self._config.target_batch, rng)
        if self._are_kept and kernel is self._kernel:
            return self._prepared[rows], self._y[rows]
        stream = (self._seed, step)
        made = _Made(self._raw, rows, self._config.augmentation, stream, kernel.dtype)
        return RemoteImages.made(made, (len(rows), *self._raw.shape[1:])), self._y[rows]


@dataclasses.dataclass(frozen=True, eq=False)
class _Made:
    """Makes targets of a step where a block is evaluated.

    Attributes:
      raw: all raw images, with their transform.
      batch: row numbers of the step's targets.
      augmentation: None leaves them as they are.
      stream: seed and step.
      dtype: of the kernel inputs.
    """

    raw: RawTargets | RemoteImages
    batch: np.ndarray
    augmentation: Augmentation | None
    stream: tuple[int, int]
    dtype: np.dtype

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The targets at places `rows` of the batch."""
        n, of = len(rows), len(self.batch)
        rows = np.append(rows, np.arange(max(0, _LEAST - n)) % of)
        raw = read(self.raw[self.batch[rows]])
        images = raw.images
        if self.augmentation is not None:
            seed, step = self.stream
            rng = generator(seed, Purpose.AUGMENTATION, step)
            images = self.augmentation.apply(images, rng, rows, of)
        return raw.transform.apply(images, self.dtype)[:n]


_LEAST = 16
"""Images made together: transforms check the spread of what they get, and one image has little."""


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
