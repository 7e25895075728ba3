"""Figure 4 of arXiv 2107.13034: KIP images against natural ones, one point a setting.

A finite ConvNet is trained twice with each setting of a grid (loss, learning rate, label scale,
augmentation): on the images that a KIP run started from, and on those it ended with. Expected: KIP
images above natural ones for most settings, with MSE and with cross entropy, so that the gain is
not one of tuning. The paper shows 500 images at eight checkpoints of KIP.

    python -m paper_repro.figure4_hyperparameters --datasets cifar10 --ipc 1
    python -m paper_repro.figure4_hyperparameters --preset gpu --ipc 50 --kip-steps 54 233 1000
    python -m paper_repro.figure4_hyperparameters --npz start.npz end.npz --datasets cifar10

The laptop preset makes 36 trainings of 500 steps at width 64; with `--steps 300` they took 15
minutes with 10 images on two AVX2 cores.

Every point is a test accuracy and none is chosen, so no validation image is needed. Deviations:
the grid is ours; the paper's is not published. The learning rates are fractions of the official
notebook's bound, from validation images, so that start and end train with the same ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from paper_repro.core import cli
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.pictures import intervals
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.options import (
    NetworkArguments,
    NetworkOptions,
    Selection,
    SelectionArguments,
)
from paper_repro.core.runs.presets import Preset, find_preset, overridden
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.transfer_cells import (
    AUGMENTED_SUPPORTS,
    FINITE,
    KIP_TO_NN,
    SetSource,
    cell_on,
    find_set,
)
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    build_cells,
    cell_runs,
    matches,
    smoke_note,
)
from paper_repro.core.tables.statistics import estimate

SCRIPT = "figure4_hyperparameters"
START, END = "natural start", "KIP images"
"""Methods of the rows."""
DIVERGED = "diverged"

PRESETS = FINITE


def grid(budget: Preset) -> list[dict[str, Any]]:
    """The settings, one point each."""
    factors, scales, decays = (0.03, 0.1, 0.3, 1.0), (1.0, 4.0, 16.0), (1e-4, 1e-3)
    changes = (None, AUGMENTED_SUPPORTS)
    if budget.name == "smoke":
        factors, scales, decays, changes = (0.1, 0.3), (8.0,), (1e-3,), (None,)
    elif budget.name == "laptop":
        factors, scales, decays = (0.03, 0.1, 0.5), (1.0, 4.0), (1e-3,)
    points = []
    mse = [("mse", scale) for scale in scales]
    for (loss, scale), factor, l2, change in itertools.product(
        [*mse, ("xent", 1.0)], factors, decays, changes
    ):
        point = {"learning_rate_factor": (factor,), "l2": (l2,), "label_scale": (scale,)}
        point |= {"loss": (loss,)} | ({} if change is None else {"augmentation": change})
        points.append(point)
    return points


def cells(budget: Preset, learned: LearnedSet, kip_steps: Sequence[int] = ()) -> list[Cell]:
    """The start of a KIP run and its end, or `kip_steps`, for each setting.

    Raises:
      UserError: the set does not keep its start or such a step.
    """
    last = learned.record["step"]
    if missing := {0, *kip_steps} - {*learned.steps, last}:
        kept = ", ".join(map(str, learned.steps)) or "none"
        raise UserError(f"{learned.name} keeps no step {min(missing)} (of its series: {kept})")
    ends = [(step, END) for step in kip_steps or (last,)]
    return [
        cell_on(learned, network, budget, step, method)
        for network in _networks(budget)
        for step, method in ((0, START), *ends)
    ]


def cells_on_files(budget: Preset, start: LearnedSet, end: LearnedSet) -> list[Cell]:
    """As `cells`, of a KIP run whose start and end are in files; rows name both."""
    name = " to ".join(f"{e.name} {sha256_of_file(e.path)[:6]}" for e in (start, end))
    return [
        cell_on(dataclasses.replace(given, name=name), network, budget, method=method)
        for network in _networks(budget)
        for given, method in ((start, START), (end, END))
    ]


def _networks(budget: Preset) -> list[dict[str, Any]]:
    """`Cell.network` of every point."""
    width, steps = budget.network_width, budget.network_steps
    # Nothing is chosen: as many as the maximum learning rate is estimated on.
    shared = {"width": width, "steps": steps, "n_validation": 50}
    return [{**shared, **point} for point in grid(budget)]


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """One line a setting: accuracy on the KIP images, and what the natural start gives."""
    own = [row for row in rows if row["table"] == SCRIPT]
    specs, pairs = [], _pairs(own)
    for key, (start, _) in pairs.items():
        shown = f"{start:.1f}" if isinstance(start, float) else start
        label = {**dict(key[0]), "Natural start": shown}
        specs.append(CellSpec(label, dict(key[1]), needs="a smaller learning rate"))
    if not specs:
        label = {"Data set": "CIFAR-10", "Images per class": "1"}
        specs = [CellSpec(label, {"method": END}, needs=f"`python -m paper_repro.{SCRIPT}`")]
    notes = smoke_note(own, "A smoke test.")
    gains = [end - start for start, end in _trained(pairs.values())]
    if gains:
        above = sum(gain > 0 for gain in gains)
        starts = sum(start == DIVERGED for start, _ in pairs.values())
        ends = sum(end == DIVERGED for _, end in pairs.values())
        notes = (
            f"KIP images above the natural ones they started from in {above} of the {len(gains)} "
            f"lines in which both trained ({min(gains):+.1f} to {max(gains):+.1f} points); of "
            f"{len(pairs)} lines {starts} diverged on the natural start, {ends} on the KIP "
            "images.",
            *notes,
        )
    return ResultTable(
        "KIP images against the natural images they started from, over hyperparameters",
        "Test accuracy in percent of finite ConvNets, all test images; each line is one setting, "
        "trained once on the natural start of the KIP run and once on its end ('ours').",
        build_cells(specs, own),
        notes=notes,
    )


Key = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Any], ...]]
Outcome = float | Literal["diverged", "not run"]


def _pairs(rows: Sequence[Mapping[str, Any]]) -> dict[Key, tuple[Outcome, Outcome]]:
    """(label, match of the KIP row) -> what the start and the end gave, accuracies in percent."""
    pairs = {}
    for row in rows:
        if row["method"] != END:
            continue
        config = row["config"]
        network, step = config["network"], config["support"]["step"]
        label = {
            "Data set": registry.title(row["dataset"]),
            "Images per class": str(row["images_per_class"]),
            "Labels": "learned" if row["learned_labels"] else "fixed",
            "KIP step": "-" if step is None else str(step),
            "Loss": network["loss"][0],
            "Learning rate": f"{network['learning_rate_factor'][0]:g} of the bound",
            "L2": f"{network['l2'][0]:g}",
            "Label scale": f"{network['label_scale'][0]:g}" if network["loss"][0] == "mse" else "-",
            "Augmented": "yes" if network.get("augmentation") else "no",
        }
        same = {"dataset": row["dataset"], "config.support.name": config["support"]["name"]}
        match = same | {"config_hash": row["config_hash"]}
        start = same | {"method": START, "config.network": [network]}
        key = tuple(label.items()), tuple(match.items())
        pairs[key] = tuple(_outcome(found, rows) for found in (start, match))
    return pairs


def _outcome(match: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Outcome:
    if runs := cell_runs(CellSpec({}, match), rows):
        return estimate([100 * run["test_accuracy"] for run in runs]).mean
    failed = any(row["status"] == "failed" for row in rows if matches(row, match))
    return DIVERGED if failed else "not run"


def _trained(pairs: Iterable[tuple[Outcome, Outcome]]) -> list[tuple[float, float]]:
    """The pairs of two accuracies."""
    return [(start, end) for start, end in pairs if {type(start), type(end)} == {float}]


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write `pictures/figure4_hyperparameters.png`, if a setting has both."""
    own = [row for row in rows if row["table"] == SCRIPT]
    points: dict[str, list[tuple[float, float]]] = {}
    for (label, _), pair in _pairs(own).items():
        words = dict(label)
        name = words["Loss"] + (", augmented" if words["Augmented"] == "yes" else "")
        points.setdefault(name, []).extend(_trained([pair]))
    points = {name: found for name, found in points.items() if found}
    if not points:
        return []
    picture = intervals.pairs(
        points,
        out / "pictures" / f"{SCRIPT}.png",
        xlabel="trained on the natural start: test accuracy (%)",
        ylabel="trained on the KIP images: test accuracy (%)",
        title="One point a setting",
    )
    return [picture]


TABLE = Table(SCRIPT, table, draw, may_diverge=True)


def main(
    selection: SelectionArguments = Selection(ipc=(1,)),
    options: NetworkArguments = NetworkOptions(),
    source: tyro.conf.OmitArgPrefixes[SetSource] = SetSource(),
    *,
    learned_labels: bool | None = None,
    kip_steps: tuple[int, ...] = (),
    width: int | None = None,
    steps: int | None = None,
) -> None:
    """KIP images against natural ones over hyperparameters (arXiv 2107.13034, Figure 4).

    Examples:
        python -m paper_repro.figure4_hyperparameters --datasets cifar10 --ipc 1
        python -m paper_repro.figure4_hyperparameters --learned-labels True --steps 200
        python -m paper_repro.figure4_hyperparameters --npz start.npz end.npz --datasets cifar10

    Args:
        selection: which sets: data sets that have a KIP set with its series in `checkpoints`,
            default cifar10, or the one that the images of npz files stand for. There are no
            methods to choose from.
        options: how they are run.
        source: the sets; npz files are two, the natural start of a KIP run and what it ended with,
            of the official release, say.
        learned_labels: take the set with learned labels (True) or fixed ones; default the
            fixed, among the sets without augmented targets if there are any.
        kip_steps: the steps of the series whose supports are trained on; default the final one.
        width: channels of the network instead of the preset's.
        steps: updates instead of the preset's.
    """
    budget = overridden(
        find_preset(options.preset, PRESETS), network_width=width, network_steps=steps
    )
    if selection.methods:
        raise UserError("this figure is of KIP alone: leave out --methods")
    if source.npz:
        if selection.ipc != (1,) or learned_labels is not None or kip_steps:
            raise UserError(
                "--npz files fix size, labels and step: leave out --ipc, --learned-labels and "
                "--kip-steps"
            )
        if len(source.npz) != 2:
            raise UserError(
                f"--npz needs two files, the start of a KIP run and its end; got {len(source.npz)}"
            )
        pair = source.file_sets(selection.datasets, options.data_dir)
        chosen = cells_on_files(budget, *pair)
    else:
        sizes = itertools.product(selection.datasets or ("cifar10",), selection.ipc)
        chosen = []
        for dataset, size in sizes:
            learned = _set_of(source, dataset, size, learned_labels)
            chosen += cells(budget, learned, kip_steps)
    run_table(TABLE, chosen, budget, options)


def _set_of(source: SetSource, dataset: str, size: int, learned_labels: bool | None) -> LearnedSet:
    everything = source.convolutional_sets()
    learned = find_set(everything, dataset, size, KIP_TO_NN, learned_labels)
    if learned is None:
        raise UserError(
            f"{source.checkpoints} has no such ConvNet KIP set of {dataset} with {size} images "
            "per class"
        )
    return learned


if __name__ == "__main__":
    cli.run(main)
