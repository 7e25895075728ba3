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

from paper_repro.core import cli
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.finite_networks import AUGMENTED_SUPPORTS, FINITE
from paper_repro.core.runs.learned_sets import (
    KIP_TO_NN,
    Preprocess,
    cell_on,
    convolutional_sets,
    file_sets,
    find_set,
    refuse_without_files,
)
from paper_repro.core.runs.presets import Preset, find_preset, overridden
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.tables.cells import CellSpec, ResultTable, build_cells, cell_runs, matches
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


def table(rows: Sequence[Mapping[str, Any]], include_smoke: bool = False) -> ResultTable:
    """One line a setting: accuracy on the KIP images, and what the natural start gives."""
    own = [row for row in rows if row["table"] == SCRIPT]
    specs, pairs = [], _pairs(own, include_smoke)
    for key, (start, _) in pairs.items():
        shown = f"{start:.1f}" if isinstance(start, float) else start
        label = {**dict(key[0]), "Natural start": shown}
        specs.append(CellSpec(label, dict(key[1]), needs="a smaller learning rate"))
    if not specs:
        label = {"Data set": "CIFAR-10", "Images per class": "1"}
        specs = [CellSpec(label, {"method": END}, needs=f"`python -m paper_repro.{SCRIPT}`")]
    notes = ("A smoke test.",) if include_smoke else ()
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
        build_cells(specs, own, include_smoke=include_smoke),
        notes=notes,
    )


Key = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Any], ...]]
Outcome = float | Literal["diverged", "not run"]


def _pairs(
    rows: Sequence[Mapping[str, Any]], include_smoke: bool
) -> dict[Key, tuple[Outcome, Outcome]]:
    """(label, match of the KIP row) -> what the start and the end gave, accuracies in percent."""
    pairs = {}
    for row in rows:
        if row["method"] != END or (row["preset"] == "smoke" and not include_smoke):
            continue
        config = row["config"]
        network, step = config["network"], config["support"]["step"]
        official = registry.DATASETS.get(row["dataset"])
        label = {
            "Data set": row["dataset"] if official is None else official.title,
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
        pairs[key] = tuple(_outcome(found, rows, include_smoke) for found in (start, match))
    return pairs


def _outcome(
    match: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], include_smoke: bool
) -> Outcome:
    if runs := cell_runs(CellSpec({}, match), rows, include_smoke=include_smoke):
        return estimate([100 * run["test_accuracy"] for run in runs]).mean
    failed = any(row["status"] == "failed" for row in rows if matches(row, match))
    return DIVERGED if failed else "not run"


def _trained(pairs: Iterable[tuple[Outcome, Outcome]]) -> list[tuple[float, float]]:
    """The pairs of two accuracies."""
    return [(start, end) for start, end in pairs if {type(start), type(end)} == {float}]


def draw(rows: Sequence[Mapping[str, Any]], out: Path, include_smoke: bool = False) -> list[Path]:
    """Write `pictures/figure4_hyperparameters.png`, if a setting has both."""
    from paper_repro.core.pictures.intervals import pairs

    own = [row for row in rows if row["table"] == SCRIPT]
    points: dict[str, list[tuple[float, float]]] = {}
    for (label, _), pair in _pairs(own, include_smoke).items():
        words = dict(label)
        name = words["Loss"] + (", augmented" if words["Augmented"] == "yes" else "")
        points.setdefault(name, []).extend(_trained([pair]))
    points = {name: found for name, found in points.items() if found}
    if not points:
        return []
    picture = pairs(
        points,
        out / "pictures" / f"{SCRIPT}.png",
        xlabel="trained on the natural start: test accuracy (%)",
        ylabel="trained on the KIP images: test accuracy (%)",
        title="One point a setting",
    )
    return [picture]


def main(
    preset: str = "laptop",
    datasets: tuple[str, ...] = (),
    ipc: tuple[int, ...] = (1,),
    learned_labels: bool | None = None,
    kip_steps: tuple[int, ...] = (),
    seeds: tuple[int, ...] = (),
    width: int | None = None,
    steps: int | None = None,
    npz: tuple[Path, ...] = (),
    preprocess: Preprocess | None = None,
    checkpoints: Path = Path("checkpoints"),
    out: Path = Path("runs"),
    data_dir: Path | None = None,
) -> None:
    """KIP images against natural ones over hyperparameters (arXiv 2107.13034, Figure 4).

    Examples:
        python -m paper_repro.figure4_hyperparameters --datasets cifar10 --ipc 1
        python -m paper_repro.figure4_hyperparameters --learned-labels True --steps 200
        python -m paper_repro.figure4_hyperparameters --npz start.npz end.npz --datasets cifar10

    Args:
        preset: smoke, laptop, gpu or paper: how much to spend (README lists what each means).
        datasets: names of data sets, each with a KIP set and its series in `checkpoints`; default
            cifar10. Of npz files, the one that their images stand for.
        ipc: images per class.
        learned_labels: take the set with learned labels (True) or fixed ones; default the
            fixed, among the sets without augmented targets if there are any.
        kip_steps: of the series, whose supports are trained on; default the final one.
        seeds: random seeds; default as many as the preset says, from 0.
        width: channels of the network instead of the preset's.
        steps: updates instead of the preset's.
        npz: two files with images and labels, the natural start of a KIP run and what it ended
            with, of the official release, say; instead of a set in `checkpoints`.
        preprocess: of the npz files: zca or standard; default zca for RGB, else standard.
        checkpoints: directory of learned sets.
        out: directory of rows, pictures and training states; the same command resumes there.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    budget = overridden(find_preset(preset, PRESETS), network_width=width, network_steps=steps)
    refuse_without_files(npz, preprocess)
    if npz and (ipc != (1,) or learned_labels is not None or kip_steps):
        raise UserError(
            "--npz files are what they are: leave out --ipc, --learned-labels and --kip-steps"
        )
    if npz and len(npz) != 2:
        raise UserError(
            f"--npz needs two files, the start of a KIP run and its end; got {len(npz)}"
        )
    if npz:
        chosen = cells_on_files(budget, *file_sets(npz, datasets, preprocess, data_dir))
    else:
        sizes = itertools.product(datasets or ("cifar10",), ipc)
        chosen = _cells_on_catalogue(budget, checkpoints, sizes, learned_labels, kip_steps)

    from paper_repro.core.runs.runner import run_table

    run_table(
        *(SCRIPT, chosen, seeds, budget, out, data_dir, table), draw_curves=draw, may_diverge=True
    )


def _cells_on_catalogue(
    budget: Preset,
    checkpoints: Path,
    sizes: Iterable[tuple[str, int]],
    learned_labels: bool | None,
    kip_steps: Sequence[int],
) -> list[Cell]:
    everything = convolutional_sets(checkpoints)
    chosen = []
    for dataset, size in sizes:
        learned = find_set(everything, dataset, size, KIP_TO_NN, learned_labels)
        if learned is None:
            raise UserError(
                f"{checkpoints} has no such ConvNet KIP set of {dataset} with {size} images per "
                "class"
            )
        chosen += cells(budget, learned, kip_steps)
    return chosen


if __name__ == "__main__":
    cli.run(main)
