"""The methods as `tests/methods/test_every_method.py` takes them: one line each in `CASES`.

python method_suite.py CASE DIRECTORY CALLS

runs a case in a process that kills itself in the call of `progress` with that number.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from small_problem import small_problem

from paper_repro.core import methods
from paper_repro.core.kernels.dot_product import fully_connected_kernel
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods import MethodConfig, label_solve
from paper_repro.core.methods.coresets import DrawnConfig, SelectedConfig
from paper_repro.core.methods.dataset_distillation import DistillationConfig
from paper_repro.core.methods.gradient_matching import MatchingConfig
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.label_distillation import LabelDistillationConfig
from paper_repro.core.methods.label_solve import LabelSolveConfig
from paper_repro.core.methods.method import Method
from paper_repro.core.methods.random_draw import RandomConfig
from paper_repro.core.methods.rebuilt import RebuiltConfig
from paper_repro.core.methods.stored import StoredConfig
from paper_repro.core.network.pytorch.spec import NetworkSpec
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store import checkpoint

SEED = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with settings under which it takes a moment.

    Attributes:
      config: the settings, for `small_problem`.
      draws: the seed decides the result.
      keeps: a finished run leaves the set in its directory.
      package: what the run needs besides the main dependencies; a test is skipped without it.
    """

    config: MethodConfig
    draws: bool = True
    keeps: bool = True
    package: str | None = None

    @property
    def method(self) -> Method:
        """The method itself."""
        return methods.method_of(self.config)

    def run(self, directory: Path, seed: int = SEED, progress=None) -> LearnedSet:
        """Run it; states are saved and progress is reported as often as can be."""
        if self.package is not None:
            pytest.importorskip(self.package)
        with often():
            return self.method.run(problem(), self.config, seed, directory, progress)


@functools.cache
def problem():
    """What all cases distil."""
    return small_problem(fully_connected_kernel(1))


@contextlib.contextmanager
def often():
    """A state at every opportunity, and several blocks of targets."""
    with mock.patch.object(checkpoint, "SECONDS", 0.0), mock.patch.object(label_solve, "BLOCK", 40):
        yield


def a_stored_set(of: type[StoredConfig] = StoredConfig) -> StoredConfig:
    """Six noisy images with fixed labels."""
    images = np.random.default_rng(0).standard_normal((6, 8, 8, 3)).astype(np.float32)
    labels = centred_one_hot(np.arange(6) // 2, 3)
    return of(
        *(2, {"name": "noisy", "sha256": "0" * 64, "step": None}),
        learned=LearnedSet.of(images, labels, {}),
    )


_KIP = KIPConfig(images_per_class=2, steps=8, target_batch=60)

_DC = MatchingConfig(2, iterations=6, real_batch=10, learner=NetworkSpec(width=4, depth=2))
_SELECTED = SelectedConfig(
    2, selection="score2", feature_epochs=6, learner=NetworkSpec(width=4, depth=2)
)
_MLP = NetworkSpec("MLP", width=16)
_DD = DistillationConfig(2, outer_steps=6, outer_batch=60, learner=_MLP)
_LD = LabelDistillationConfig(2, outer_steps=9, outer_batch=60, patience=2, learner=_MLP)

CASES = {
    "KIP": Case(_KIP),
    "KIP (l)": Case(dataclasses.replace(_KIP, learn_labels=True)),
    "KIP (a + l)": Case(
        dataclasses.replace(_KIP, learn_labels=True, augmentation=Augmentation(fraction=0.7))
    ),
    "DC": Case(dataclasses.replace(_DC, network_epochs=2, matching_steps=2), package="torch"),
    "DSA": Case(
        dataclasses.replace(_DC, siamese=True, initial="natural", matching_steps=1), package="torch"
    ),
    "LS": Case(LabelSolveConfig(2, diag_reg=1e-4)),
    "DD": Case(_DD, package="torch"),
    "LD": Case(_LD, package="torch"),
    "Natural": Case(RandomConfig(2)),
    "Random": Case(DrawnConfig(2)),
    "Loss buffer (score2)": Case(_SELECTED, package="torch"),
    "Stored": Case(a_stored_set(), draws=False, keeps=False),
    "Rebuilt": Case(a_stored_set(RebuiltConfig), draws=False, keeps=False),
}
"""A new method joins by a line here."""


def main(case: str, directory: Path, calls: int) -> None:
    """Run a case until progress was reported so many times; then there is no chance to save."""
    reports = iter(range(1, calls + 1))

    def progress(done, of, figures):
        if next(reports) == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    CASES[case].run(directory, progress=progress)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
