"""The coresets as methods: their names in tables, what they record, and how a set is chosen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.coresets.config import (
    FEATURE_EPOCHS,
    CoresetConfig,
    DrawnConfig,
    SelectedConfig,
)
from paper_repro.core.methods.coresets.label_noise import flipped_labels, purity
from paper_repro.core.methods.coresets.loss_scores import SCORES
from paper_repro.core.methods.coresets.selection import herding, k_center, lowest, most_forgotten
from paper_repro.core.methods.method import Method, Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import keep, natural_rows
from paper_repro.core.network.pytorch.spec import (
    Evaluation,
    NetworkSpec,
    published_evaluation,
    require_torch,
)
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.checkpoint import Resume

if TYPE_CHECKING:
    from paper_repro.core.methods.coresets import reference
else:
    reference = lazy.module("paper_repro.core.methods.coresets.reference")


class _Coreset(Method):
    """Training images with their labels, which networks score as they score DC's sets."""

    learns_images = False
    uses_kernel = False
    whitens = False
    is_exported = False

    def evaluation(self, config: CoresetConfig, dataset: str) -> Evaluation:
        """See `Method.evaluation`."""
        return published_evaluation(dataset, False, NetworkSpec())


class RandomCoreset(_Coreset):
    """A class-balanced draw: the images of `Natural`, scored by networks."""

    procedure = "random_coreset"
    title = "Random"
    variants: Mapping[str, Mapping[str, Any]] = {"Random": {}}
    config_type = DrawnConfig
    trains = False

    def run(
        self,
        problem: Problem,
        config: DrawnConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`."""
        given = _with_flips(problem, config, seed)
        if config.across_classes:
            count = _count(given, config)
            rng = generator(seed, Purpose.SUPPORT)
            rows = rng.choice(len(given.labels), count, replace=False)
        else:
            rows = natural_rows(given, config.images_per_class, seed)
        budget = {"reduced": problem.is_reduced}
        return _as_set(problem, given, rows, directory, None, budget)


class SelectedCoreset(_Coreset):
    """Images chosen by the features, the forgetting or the losses of a trained network."""

    procedure = "coreset"
    title = "Coreset"
    variants: Mapping[str, Mapping[str, Any]] = {
        "Herding": {"selection": "herding"},
        "K-Center": {"selection": "k_center"},
        "Forgetting": {"selection": "forgetting"},
        "Loss buffer (score)": {"selection": "score"},
        "Loss buffer (score2)": {"selection": "score2"},
        "Loss buffer (score3)": {"selection": "score3"},
    }
    config_type = SelectedConfig
    budget_fields = ("feature_epochs",)

    def run(
        self,
        problem: Problem,
        config: SelectedConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`; the trained network stands beside `directory` (`reference`).

        Raises:
          Diverged: the loss of that network is not finite.
          UserError: a class has too few images, PyTorch is missing, or another process is training
            the same network.
        """
        require_torch()
        given = _with_flips(problem, config, seed)
        _count(given, config)
        settings = {"method": self.procedure, **dataclasses.asdict(config)}
        resume, total = Resume(directory, given.identity(settings, seed)), config.feature_epochs + 1
        if resume.found is None:

            def report(epoch: int, of: int, figures: Mapping[str, Any]) -> None:
                if progress is not None:
                    progress(epoch, total, figures)

            wanted = reference.Settings(config.learner, config.feature_epochs, config.buffer_decay)
            known = reference.trained(given, wanted, seed, directory, report)
            started = time.monotonic()
            rows = chosen_rows(given, known, config, seed)
            seconds = known.seconds + time.monotonic() - started
            resume.save({"rows": rows, "seconds": np.asarray(seconds)})
        else:
            rows = resume.found.tensors["rows"]
            seconds = float(resume.found.tensors["seconds"])
        if progress is not None:
            progress(total, total, {})
        budget = {
            "feature_epochs": config.feature_epochs,
            "reduced": problem.is_reduced or config.feature_epochs < FEATURE_EPOCHS,
        }
        return _as_set(problem, given, rows, directory, seconds, budget)

    def tag(self, config: SelectedConfig) -> str:
        """See `Method.tag`."""
        return config.selection.replace("_", "-")

    def work(self, config: SelectedConfig) -> int:
        """See `Method.work`."""
        return config.feature_epochs


def chosen_rows(
    given: Problem, known: reference.Reference, config: SelectedConfig, seed: int
) -> np.ndarray:
    """The training images that a selection keeps.

    Args:
      given: the problem with the labels that the selection may see.
      known: the network trained on it.
      config: the settings.
      seed: decides between images that were forgotten equally often.

    Returns:
      Row numbers, int64 (images_per_class * K,): ordered by class, and by choice within one; across
      classes by choice.
    """
    rng = generator(seed, Purpose.SUPPORT)
    if config.selection in SCORES:
        losses = known.label_loss, known.predicted_loss
        scores = SCORES[config.selection](*losses, given.labels)

    def choose(rows: np.ndarray, count: int) -> np.ndarray:
        if config.selection == "herding":
            return rows[herding(known.features(rows), count)]
        if config.selection == "k_center":
            return rows[k_center(known.features(rows), count)]
        if config.selection == "forgetting":
            return rows[most_forgotten(known.forgotten[rows], known.learned[rows], count, rng)]
        return rows[lowest(scores[rows], count)]

    if config.across_classes:
        return choose(np.arange(len(given.labels)), _count(given, config))
    classes = (np.flatnonzero(given.labels == c) for c in range(given.n_classes))
    return np.concatenate([choose(rows, config.images_per_class) for rows in classes])


def _with_flips(problem: Problem, config: CoresetConfig, seed: int) -> Problem:
    """The problem with the labels that a method may see."""
    labels = flipped_labels(problem.labels, problem.n_classes, config.flipped, seed)
    return dataclasses.replace(problem, labels=labels)


def _count(given: Problem, config: CoresetConfig) -> int:
    """How many images the set has.

    Raises:
      UserError: there are not as many.
    """
    count, n = config.images_per_class * given.n_classes, len(given.labels)
    if config.across_classes:
        if count > n:
            raise UserError(f"cannot choose {count} of {n} images: ask for fewer per class")
        return count
    sizes = np.bincount(given.labels, minlength=given.n_classes)
    smallest = int(sizes.argmin())
    if sizes[smallest] == 0:
        raise UserError(f"no image of class {smallest}: a coreset needs every class")
    if config.images_per_class > sizes[smallest]:
        raise UserError(
            f"images per class must be between 1 and {sizes[smallest]} (class {smallest}), not "
            f"{config.images_per_class}"
        )
    return count


def _as_set(
    problem: Problem,
    given: Problem,
    rows: np.ndarray,
    directory: Path,
    seconds: float | None,
    budget: dict[str, Any],
) -> LearnedSet:
    """The images with their given labels, kept in the directory of the run."""
    x = given.transform.apply(given.x_target[rows], given.dtype)
    y = centred_one_hot(given.labels[rows], given.n_classes)
    keep(directory, x, y)
    record = {"step": None, "seconds": seconds, "budget": budget}
    beside = {"beside_network": {"budget": budget}}
    share = purity(given.labels[rows], problem.labels[rows])
    return LearnedSet.of(x, y, {**record, **beside, "extra": {"purity": share}})
