"""The procedures behind a cell: KIP, Label Solve, natural images, a finite network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.kernels import from_name as kernel_from_name
from paper_repro.core.krr import score
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.kip import run as run_kip
from paper_repro.core.methods.kip.run import support_path
from paper_repro.core.methods.label_solve import label_solve
from paper_repro.core.methods.partial_factor import PartialFactor
from paper_repro.core.random import Purpose, generator
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.context import Context
from paper_repro.core.runs.outcome import Outcome
from paper_repro.core.runs.transfer import chosen_network, transfer
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import score as score_set
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import exclusive

DirectoryOf = Callable[[Cell], Path]
"""Where a cell's run of the same seed keeps its files."""

PAPER_TARGET_BATCH = 5_000
"""Targets of a KIP step in the papers."""

Report = Callable[[int, int, Mapping[str, Any]], None]
"""Progress: (done, in all, figures to show)."""


def kip(
    cell: Cell, context: Context, seed: int, directory_of: DirectoryOf, report: Report
) -> Outcome:
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
        support_batch=cell.support_batch,
    )
    problem = context.problem(validated=cell.patience is not None)
    result = run_kip(
        problem,
        context.kernel,
        config,
        seed,
        directory_of(cell),
        f"{cell.config_hash}-{context.dataset.data_sha256[:16]}",
        report,
        cell.test_share,
        [kernel_from_name(name, cell.kernel) for name in cell.random_architectures or ()],
    )
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
            **({} if cell.patience is None else {"reduced": _is_reduced(cell, result.converged)}),
        },
        extra={
            "converged": result.converged,
            "steps_run": result.steps_run,
            "trajectory": result.trajectory,
            **{k: v for k, v in metrics.items() if k.startswith("validation_")},
        },
    )


def _is_reduced(cell: Cell, converged: bool) -> bool:
    """Whether a run that was to converge spent less than the papers, whatever its preset."""
    return not converged or cell.target_batch < PAPER_TARGET_BATCH or cell.n_train is not None


def natural(
    cell: Cell, context: Context, seed: int, directory_of: DirectoryOf, report: Report
) -> Outcome:
    """Score natural images with their own labels: what distillation is compared with."""
    x, labels = _draw(cell, context, seed)
    y = centred_one_hot(labels, context.dataset.n_classes)
    return _score(cell, context, x, y, directory_of(cell), {"reduced": False})


def label_solved(
    cell: Cell, context: Context, seed: int, directory_of: DirectoryOf, report: Report
) -> Outcome:
    """Solve for the labels of natural images against all training images, and score them."""
    x, _ = _draw(cell, context, seed)
    data = context.dataset
    y_target = centred_one_hot(data.y_train, data.n_classes)
    directory = directory_of(cell)
    kept = PartialFactor(directory, f"{cell.config_hash}-{data.data_sha256[:16]}-{seed}")
    y = label_solve(
        context.kernel,
        x,
        data.x_train,
        y_target,
        context.transform,
        cell.diag_reg,
        progress=lambda done, of: report(done, of, {}),
        kept=kept,
    )
    budget = {"n_targets": len(y_target), "reduced": cell.n_train is not None}
    solved = _score(cell, context, x, y, directory, budget)
    return dataclasses.replace(solved, seconds=kept.seconds)


def _draw(cell: Cell, context: Context, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Natural supports (kernel inputs) and their class numbers, ordered by class."""
    data = context.dataset
    sampler = ClassBalancedSampler(data.y_train, data.n_classes)
    rows = sampler.draw_per_class(cell.images_per_class, generator(seed, Purpose.SUPPORT))
    x = context.transform.apply(data.x_train[rows], context.kernel.dtype)
    return x, data.y_train[rows]


def _score(
    cell: Cell, context: Context, x: np.ndarray, y: np.ndarray, directory: Path, budget: dict
) -> Outcome:
    tensors = {"images": np.asarray(x, np.float32), "labels": np.asarray(y, np.float32)}
    checkpoint.save(directory / "support.safetensors", tensors, {})
    found = score_set(LearnedSet.of(x, y), context.test, context.kernel, cell.diag_reg)
    return Outcome(found.accuracy, found.mse, found.n, None, None, budget, {})


def network(
    cell: Cell, context: Context, seed: int, directory_of: DirectoryOf, report: Report
) -> Outcome:
    """Train finite networks on a KIP support; the best on validation is tested, once.

    The grid of `cell.network` runs over learning rate, weight decay and the scale of the labels:
    at a finite width the function at initialisation is noise of order one, so labels of a larger
    scale drown it. Outputs are divided by the scale before the MSE is taken.
    """
    support_cell = cell.support_cell
    directory = directory_of(support_cell)
    with exclusive(directory):  # a table of KIP may run the same cell
        support = kip(support_cell, context, seed, directory_of, report)
        tensors = checkpoint.load(support_path(directory, support.step)).tensors
    x, y = tensors["images"], tensors["labels"]
    chosen = chosen_network(cell, context, seed, (x, y), directory_of(cell), report)
    result = score(chosen.predict(context.test_images), context.test.y)
    settings = cell.network
    return Outcome(
        test_accuracy=result.accuracy,
        test_mse=result.mse,
        n_test=result.n,
        step=settings["steps"],
        seconds=None,
        budget={
            "steps": settings["steps"],
            "width": settings["width"],
            "settings_tried": len(chosen.tried),
            "kip_steps": support.budget["steps"],
            **({"reduced": True} if support.budget.get("reduced") else {}),
        },
        extra={"width": settings["width"], "chosen": chosen.point, "support_step": support.step},
    )


PROCEDURES: dict[str, Callable[[Cell, Context, int, DirectoryOf, Report], Outcome]] = {
    "kip": kip,
    "label_solve": label_solved,
    "natural": natural,
    "network": network,
    "transfer": transfer,
}
