"""The procedure `transfer`: a finite network trained on a learned set, or on natural images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.krr import score
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.network.grid import Chosen, Settings, choose
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.random import Purpose, generator
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.context import Context
from paper_repro.core.runs.outcome import Outcome
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.sources import CheckpointFile
from paper_repro.core.store.files import sha256_of_file


def transfer(
    cell: Cell,
    context: Context,
    seed: int,
    directory_of: Callable[[Cell], Path],
    report: Callable[[int, int, Mapping[str, Any]], None],
) -> Outcome:
    """Train finite networks on `cell.support`, choose one on validation, test it once.

    The seed decides initialisation and batches; of natural images (no `cell.support`) also which
    are drawn.

    Raises:
      UserError: the support's file is missing, damaged, not the one that `cell.support` names, or
        of other images than the data set's.
      AllDiverged: see `grid.choose`.
    """
    if cell.support is None:
        support = natural_support(cell, context, seed)
    else:
        support = named_support(cell, context)
    settings = Settings(**cell.network)
    chosen = chosen_network(cell, context, seed, support, directory_of(cell), report)
    data = context.dataset
    found = score(chosen.predict(context.test_images), centred_one_hot(data.y_test, data.n_classes))
    return Outcome(
        test_accuracy=found.accuracy,
        test_mse=found.mse,
        n_test=found.n,
        step=None if cell.support is None else cell.support["step"],
        seconds=None,
        budget={
            "steps": settings.steps,
            "width": settings.width,
            "settings_tried": len(chosen.tried),
            **(cell.support_budget or {}),
        },
        extra={
            "width": settings.width,
            "chosen": chosen.point,
            "tried": chosen.tried,
            "support": cell.support,
            "krr_accuracy": cell.krr_accuracy,
            "support_size": len(support[0]),
        },
    )


def chosen_network(
    cell: Cell,
    context: Context,
    seed: int,
    support: tuple[np.ndarray, np.ndarray],
    directory: Path | None,
    report: Callable[[int, int, Mapping[str, Any]], None] | None,
) -> Chosen:
    """The best network of the cell's grid on the data set's validation images."""
    settings, data = Settings(**cell.network), context.dataset
    first = slice(settings.n_validation)
    y = centred_one_hot(data.y_val[first], data.n_classes)
    key = jax.random.key(int(generator(seed, Purpose.NETWORK).integers(2**31)))
    validation = context.transform.apply(data.x_val[first]), y
    return choose(settings, cell.architecture, support, validation, key, directory, report)


def natural_support(cell: Cell, context: Context, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A class-balanced draw of training images outside of validation, with centred labels."""
    data = context.dataset
    sampler = ClassBalancedSampler(data.y_fit, data.n_classes)
    rows = sampler.draw_per_class(cell.images_per_class, generator(seed, Purpose.SUPPORT))
    x = context.transform.apply(data.x_fit[rows])
    return x, centred_one_hot(data.y_fit[rows], data.n_classes)


def named_support(cell: Cell, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of `cell.support`: the file that it names, and made from these data."""
    path, name, data = cell.support_path, cell.support["name"], context.dataset
    if path is None or not path.exists():
        raise UserError(f"the learned set {name} is not at {path}")
    if sha256_of_file(path) != cell.support["sha256"]:
        raise UserError(f"{path} is not the file that {name} names: restore or export it again")
    if cell.support_record is not None:
        require_recorded(name, cell.support_record, data, context.transform)
    if path.suffix == ".npz":
        learned = LearnedSet.from_npz(path, data.image_shape, data.n_classes)
        return learned.kernel_inputs.astype(np.float32), learned.labels
    found = CheckpointFile(path, cell.support["sha256"]).read()
    x, y = found.images, found.labels
    if x.shape[1:] != data.image_shape or y.shape != (len(x), data.n_classes):
        raise UserError(
            f"{path}: images {x.shape} and labels {y.shape} do not fit {data.title}, whose images "
            f"are {data.image_shape}, with {data.n_classes} classes"
        )
    return x, y
