"""The runs behind Figure 3: settings are chosen once a line, its points are trained with them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.presets import Preset
from paper_repro.core.runs.scorers import FiniteNetwork
from paper_repro.core.runs.transfer_cells import (
    AUGMENTED_SUPPORTS,
    KIP_TO_NN,
    LS_TO_NN,
    PAPER,
    cell_on,
    find_set,
    is_file_set,
)
from paper_repro.core.sets.learned_set import LearnedSet

PARTS = ("width", "step")
CHOICE, WIDTH, STEP = "choice of settings", "width", "KIP step"
"""What a row is for; `Cell.method` is this after the method of the set."""

STEPS_SHOWN = {"smoke": 2, "laptop": 6}
"""How many of the kept KIP steps are trained on, spread over all; above laptop every one."""


def chosen_sets(
    sets: Sequence[LearnedSet], dataset: str, ipc: int, parts: Sequence[str]
) -> list[LearnedSet]:
    """Every kind of KIP set, and LS, as far as they are there and `parts` need them."""
    kinds = itertools.product((False, True), (False, True)) if "step" in parts else [(False,) * 2]
    wanted = [find_set(sets, dataset, ipc, KIP_TO_NN, learned, change) for learned, change in kinds]
    if "width" in parts:
        wanted.append(find_set(sets, dataset, ipc, LS_TO_NN))
    return [learned for learned in wanted if learned is not None]


def choice_cells(
    budget: Preset,
    sets: Sequence[LearnedSet],
    parts: Sequence[str],
    augmented: bool = False,
) -> list[Cell]:
    """The cells that choose settings on validation, one a line of the pictures."""
    network = PAPER.network(budget)
    chosen = []
    for learned in sets:
        plain = cell_on(learned, network, budget)
        if "width" in parts and _is_for_width(learned):
            chosen.append(_named(plain, CHOICE))
        if "step" in parts and _spread(learned, None):
            changes = (None, AUGMENTED_SUPPORTS) if augmented else (None,)
            chosen += [_named(cell, CHOICE) for cell in _variants(plain, changes)]
    unique = {cell.config_hash: cell for cell in chosen}
    return list(unique.values())


def cells(
    budget: Preset,
    sets: Sequence[LearnedSet],
    parts: Sequence[str],
    widths: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    augmented: bool = False,
) -> list[Cell]:
    """The cells of the pictures, with the settings that `rows` of the choices hold.

    A line whose settings all diverged is left out.
    """
    found = []
    for choice in choice_cells(budget, sets, parts, augmented):
        learned = next(s for s in sets if s.name == choice.config.support["name"])
        network = _fixed(choice, rows)
        if network is None:
            continue
        method = choice.method.removesuffix(f", {CHOICE}")
        is_plain = network["loss"] == ("mse",) and "augmentation" not in network
        if "width" in parts and is_plain and _is_for_width(learned):
            for width in widths:
                cell = cell_on(learned, {**network, "width": width}, budget, method=method)
                found.append(_named(cell, WIDTH))
        if "step" in parts:
            for step in _spread(learned, STEPS_SHOWN.get(budget.name)):
                found.append(_named(cell_on(learned, network, budget, step, method), STEP))
    return sorted(found, key=lambda cell: cell.method)


def _is_for_width(learned: LearnedSet) -> bool:
    """Plain KIP, a set of a method without steps (LS), or any set that was given as a file."""
    if is_file_set(learned):
        return True
    record = learned.record
    plain = not record["learned_labels"] and not record["augmentation"]
    return plain or record["step"] is None


def _variants(cell: Cell, changes: Sequence[Mapping[str, Any] | None]) -> Iterator[Cell]:
    """MSE and cross entropy, with each augmentation of the supports."""
    for loss in ("mse", "xent"):
        for augmentation in changes:
            network = {**cell.scorer.settings, "loss": (loss,), "augmentation": augmentation}
            if augmentation is None:
                del network["augmentation"]
            if loss == "mse":
                del network["loss"]
            yield dataclasses.replace(cell, scorer=FiniteNetwork(network))


def _named(cell: Cell, what: str) -> Cell:
    return dataclasses.replace(cell, method=f"{cell.method}, {what}")


def _fixed(choice: Cell, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Settings of a finished choice as a grid of one point."""
    match = {"config_hash": choice.config_hash, "status": "done"}
    for row in rows:
        if all(row[name] == value for name, value in match.items()):
            point = row["chosen"]
            names = ("learning_rate_factor", "l2", "label_scale")
            one = {name: (point[name],) for name in names}
            return {**choice.scorer.settings, **one, "loss": (point.get("loss", "mse"),)}
    return None


def _spread(learned: LearnedSet, most: int | None) -> list[int]:
    """The kept steps and the final one, or `most` of them, first and last included."""
    if is_file_set(learned) or not learned.steps:
        return []
    steps = [*learned.steps, learned.record["step"]]
    if most is None or most >= len(steps):
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
