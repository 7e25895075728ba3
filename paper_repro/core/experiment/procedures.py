"""The procedures behind a cell. Each takes a cell, a seed and a directory; each gives an outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core import checkpoint
from paper_repro.core.experiment.cell import Cell
from paper_repro.core.experiment.context import Context
from paper_repro.core.kip import KIPConfig
from paper_repro.core.kip import run as run_kip
from paper_repro.core.label_solve import label_solve
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.random import Purpose, generator

Report = Callable[[int, int, Mapping[str, Any]], None]
"""Progress: (done, in all, figures to show)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a finished run contributes to its result row.

    Attributes:
      test_accuracy: fraction of the test set.
      test_mse: with the 0.5 factor.
      n_test: size of the test set.
      step: selected step, None for a procedure without steps.
      seconds: of computing, all sessions together; None if only the caller's clock counts.
      budget: what was spent.
      extra: more fields of the row.
    """

    test_accuracy: float
    test_mse: float
    n_test: int
    step: int | None
    seconds: float | None
    budget: dict[str, Any]
    extra: dict[str, Any]


def kip(cell: Cell, context: Context, seed: int, directory: Path, report: Report) -> Outcome:
    """Train a support set by KIP and score the checkpoint chosen on validation."""
    config = KIPConfig(
        images_per_class=cell.images_per_class,
        steps=cell.steps,
        target_batch=cell.target_batch,
        learn_labels=cell.learned_labels,
        augmentation=cell.augmentation,
        initial=cell.initial,
        learning_rate=cell.learning_rate,
        diag_reg=cell.diag_reg,
        patience=cell.patience,
        flat=cell.flat,
    )
    problem = context.problem(validated=cell.patience is not None)
    result = run_kip(problem, context.kernel, config, seed, directory, cell.config_hash, report)
    metrics = result.metrics
    return Outcome(
        test_accuracy=metrics["test_accuracy"],
        test_mse=metrics["test_mse"],
        n_test=len(problem.test.y),
        step=result.step,
        seconds=result.seconds,
        budget={
            "steps": result.steps_run,
            "target_batch": min(config.target_batch, len(problem.labels)),
            "n_train": len(problem.labels),
        },
        extra={
            "converged": result.converged,
            "steps_run": result.steps_run,
            **{k: v for k, v in metrics.items() if k.startswith("validation_")},
        },
    )


def natural(cell: Cell, context: Context, seed: int, directory: Path, report: Report) -> Outcome:
    """Score natural images with their own labels: what distillation is compared with."""
    x, labels = _draw(cell, context, seed)
    y = centred_one_hot(labels, context.dataset.n_classes)
    return _score(cell, context, x, y, directory, len(x))


def label_solved(
    cell: Cell, context: Context, seed: int, directory: Path, report: Report
) -> Outcome:
    """Solve for the labels of natural images against all training images, and score them."""
    x, _ = _draw(cell, context, seed)
    data = context.dataset
    y_target = centred_one_hot(data.y_train, data.n_classes)
    y = label_solve(
        context.kernel,
        x,
        data.x_train,
        y_target,
        context.transform,
        cell.diag_reg,
        progress=lambda done, of: report(done, of, {}),
    )
    return _score(cell, context, x, y, directory, len(y_target))


def _draw(cell: Cell, context: Context, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Natural supports (kernel inputs) and their class numbers, ordered by class."""
    data = context.dataset
    sampler = ClassBalancedSampler(data.y_train, data.n_classes)
    rows = sampler.draw_per_class(cell.images_per_class, generator(seed, Purpose.SUPPORT))
    x = context.transform.apply(data.x_train[rows], context.kernel.dtype)
    return x, data.y_train[rows]


def _score(
    cell: Cell, context: Context, x: np.ndarray, y: np.ndarray, directory: Path, n_train: int
) -> Outcome:
    tensors = {"images": np.asarray(x, np.float32), "labels": np.asarray(y, np.float32)}
    checkpoint.save(directory / "support.safetensors", tensors, {})
    found = context.test.score(context.kernel, x, y, cell.diag_reg)
    budget = {"n_train": n_train, "reduced": n_train < len(context.dataset.x_train)}
    return Outcome(found.accuracy, found.mse, found.n, None, None, budget, {})


PROCEDURES: dict[str, Callable[[Cell, Context, int, Path, Report], Outcome]] = {
    "kip": kip,
    "label_solve": label_solved,
    "natural": natural,
}
