"""What determines a KIP run besides its data, kernel and seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

from paper_repro.core.errors import UserError
from paper_repro.core.krr import DIAG_REG
from paper_repro.core.methods.method import MethodConfig
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.store.row_schema import without_later

_EARLY = (0, 1, 2, 4, 6, 8, 12, 18, 26, 37, 54, 78, 112, 162, 233, 335, 483, 695, 1000)


Initial = Literal["natural", "noise"]
"""What support images start as."""

Decay = Literal["cosine"]
"""How the learning rate falls over the steps of a run; None keeps it."""

FinalLabels = Literal["solve"]
"""What becomes of the labels of the set that is selected; None leaves them."""

MOST_STEPS = 10_000_000
"""Two hundred times the longest run of the authors."""

TEST_SHARE = 0.1
"""The part of a run's time that the tables spend on scoring the test set along the way."""


@dataclasses.dataclass(frozen=True)
class KIPConfig(MethodConfig):
    """Settings of a run; defaults are the official ones where they are known.

    Attributes:
      images_per_class: size of the support set per class.
      steps: number of updates at most.
      target_batch: targets per step, drawn without replacement and balanced over the classes.
      learn_labels: also update the support labels.
      augmentation: random maps of the targets, on raw images; None for none.
      initial: support images start as natural training images or as Gaussian noise.
      learning_rate: step size of Adam, on images, labels and the logarithms of kernel parameters.
      diag_reg: KRR ridge relative to the mean diagonal.
      patience: stop when the best validation loss has not improved by `flat` (relative) for this
        many steps, and select the checkpoint with the lowest validation loss. None: run all
        steps, use every training image as a target, and select the last checkpoint.
      flat: relative improvement that counts as none.
      support_batch: supports per class that a step draws and updates (arXiv 2011.00050,
        Algorithm 1); the others stay as they are, with their moments. None updates all of them.
      random_architectures: networks of which every step draws one for its update (arXiv
        2107.13034, section 3.1); scores always use the kernel of the run. None draws none.
      test_share: see `evaluation_steps`. It changes no number of the result.
      decay: the learning rate falls to 0 over `steps` by a cosine; None keeps it, as published.
      restart_at: the step at which the rate begins again at its full size (SGDR, arXiv 1608.03983)
        and falls to 0 over the steps that are left. Up to there the run is that of `first_cycle`.
      final_labels: `solve` replaces the labels of the selected set by the least squares solution
        on all targets, unaugmented (Label Solve of learned images); None leaves them.
    """

    steps: int = 10_000
    target_batch: int = 5_000
    learn_labels: bool = False
    augmentation: Augmentation | None = None
    initial: Initial = "natural"
    learning_rate: float = 0.04
    diag_reg: float = DIAG_REG
    patience: int | None = None
    flat: float = 1e-3
    support_batch: int | None = None
    random_architectures: tuple[str, ...] | None = None
    test_share: float | None = None
    decay: Decay | None = None
    final_labels: FinalLabels | None = None
    restart_at: int | None = None

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("steps", 0), ("target_batch", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.steps > MOST_STEPS:
            raise UserError(f"steps must be at most {MOST_STEPS:,}, not {self.steps:,}")
        if self.initial not in ("natural", "noise"):
            raise UserError(f"initial must be natural or noise, not {self.initial!r}")
        for name, known in (("decay", "cosine"), ("final_labels", "solve")):
            if getattr(self, name) not in (None, known):
                raise UserError(f"{name} must be {known} or None, not {getattr(self, name)!r}")
        if self.decay is not None and self.patience is not None:
            raise UserError("a learning rate that decays over the steps has no use for patience")
        if self.restart_at is not None:
            if self.decay is None:
                raise UserError(
                    "restart_at is for a learning rate that decays: choose decay cosine"
                )
            if not 0 < self.restart_at < self.steps:
                raise UserError(
                    f"restart_at must be a step before the last one ({self.steps}) and after 0, "
                    f"not {self.restart_at}"
                )
        if self.final_labels is not None and not self.learn_labels:
            raise UserError("final_labels=solve is for learned labels: fixed ones stay as they are")
        for name in ("learning_rate", "diag_reg", "flat"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(
                    f"{name} must be finite and not negative, not {getattr(self, name)}"
                )
        if self.patience is not None and self.patience < 1:
            raise UserError(f"patience must be at least 1 step or None, not {self.patience}")
        if not (self.support_batch is None or 1 <= self.support_batch <= self.images_per_class):
            raise UserError(
                f"support_batch must be between 1 and images_per_class "
                f"({self.images_per_class}) or None, not {self.support_batch}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the bits of a run, for its identity.

        The kernels are part of the identity by themselves, and `test_share` changes no bit.
        """
        fields = dataclasses.asdict(self)
        del fields["random_architectures"], fields["test_share"]
        return without_later(fields, decay=None, final_labels=None, restart_at=None)

    @property
    def first_cycle(self) -> KIPConfig | None:
        """The run that ends at `restart_at`, with which this one begins; None without a restart."""
        if self.restart_at is None:
            return None
        return dataclasses.replace(self, steps=self.restart_at, restart_at=None)

    @property
    def cycles(self) -> tuple[int, ...]:
        """The steps of each fall of the learning rate; none where it is constant."""
        if self.decay is None:
            return ()
        if self.restart_at is None:
            return (self.steps,)
        return (self.restart_at, self.steps - self.restart_at)


_UPDATE = 4
"""Cost of a support-target pair in an update, forward and gradient, in pairs scored forward."""


def evaluation_steps(config: KIPConfig, n_support: int, n_test: int) -> list[int]:
    """The official steps at which a run scores the test set.

    All of them when the checkpoint is chosen on validation, which is scored there too, or when
    `config.test_share` is None. Otherwise as many as fit into that share of the run's updates,
    evenly among the official steps, the last one always. The first cycle of a run with a restart is
    measured as a run by itself.

    Args:
      config: KIP settings; `test_share` is the largest fraction of the run's time that is spent
        on the test set.
      n_support: supports in all.
      n_test: size of the test set.
    """
    share = config.test_share
    official = list(official_steps(config.steps))
    if share is None or config.patience is not None:
        return official
    updates = config.steps * n_support * (n_support + config.target_batch) * _UPDATE
    count = max(1, min(len(official), int(share * updates / (n_support * n_test))))
    stride = (len(official) - 1) / max(count - 1, 1)
    chosen = {official[len(official) - 1 - round(k * stride)] for k in range(count)}
    if config.restart_at is not None:
        first = evaluation_steps(config.first_cycle, n_support, n_test)
        chosen = {*first, *(step for step in chosen if step > config.restart_at)}
    return sorted(chosen)


def official_steps(last: int) -> Iterator[int]:
    """Steps at which the official release keeps a checkpoint, up to and including `last`.

    0, 1, 2, 4, 6, 8, 12, ..., 695, 1000, then every 500; `last` itself is always kept.
    """
    yield from (step for step in _EARLY if step < last)
    yield from range(_EARLY[-1] + 500, last, 500)
    yield last
