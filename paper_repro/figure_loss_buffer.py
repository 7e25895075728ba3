"""Coresets of training images with wrong labels, and learned images rebuilt from few components.

A share of MNIST's labels is replaced by other classes. A network trained on them keeps a moving
average of every image's loss under its label and under the class it predicts; the scores made of
these (`methods.coresets.loss_scores`) choose a tenth of the images, across all classes, and are
compared with a random choice and with the most forgotten images. Purity is the fraction of chosen
images whose label is right; the accuracy is that of a new network trained on the chosen images.
No published figures are at hand. Expected: low losses find the right labels, and forgetting finds
the wrong ones. Right labels alone do not make an accurate network: the images with the lowest
losses are the easiest ones.

The second part rebuilds the learned MNIST images of `checkpoints` from principal components of the
training images (PCA), and from Fisher's discriminants with principal components beside them
(LDA + PCA), and scores what remains with the kernel they were learned with.

    python -m paper_repro.figure_loss_buffer
    python -m paper_repro.figure_loss_buffer --methods Random "Loss buffer (score2)" --flipped 0.4

The laptop preset takes the first 5,000 training and 2,000 test images and a ConvNet of width 16: 10
epochs for the losses, and 30 epochs of batches of 50 for one network on each 500 chosen images. The
gpu and paper presets take all images, the ConvNet of width 128 and batches of 256.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core import cli, methods
from paper_repro.core.errors import UserError
from paper_repro.core.methods.rebuilt import RebuiltConfig
from paper_repro.core.network.pytorch.spec import Evaluation, NetworkSpec
from paper_repro.core.pictures.images import image_grid
from paper_repro.core.pictures.intervals import with_intervals
from paper_repro.core.preprocess.subspaces import WITHIN
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.options import RunArguments, RunOptions, Selection, SelectionArguments
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.runs.presets import SMOKE, Preset, find_preset, largest_preset
from paper_repro.core.runs.runner import Table, run_table
from paper_repro.core.runs.scorers import KRR, PublishedNetworks
from paper_repro.core.runs.transfer_cells import CONVNET_NTK, is_by_convnet_kernel, scored_cell
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    Wide,
    build_cells,
    cell_runs,
    smoke_note,
)
from paper_repro.core.tables.statistics import Estimate, estimate

SCRIPT = "figure_loss_buffer"
DATASET = "mnist"
SHARES = (0.0, 0.2, 0.4, 0.6)
"""Of flipped labels."""

CHOICES = (
    "Random",
    "Forgetting",
    "Loss buffer (score)",
    "Loss buffer (score2)",
    "Loss buffer (score3)",
)
COMPONENTS = (9, 20, 50, 100)
BASES = {"pca": "PCA", "lda_pca": "LDA + PCA"}

PRESETS = {
    "smoke": dataclasses.replace(SMOKE, n_test=200, networks=1),
    "laptop": Preset(
        *("laptop", 0, 0),
        **{"n_train": 5_000, "n_test": 2_000, "feature_epochs": 10},
        **{"networks": 1, "evaluation_epochs": 30, "seeds": 2},
    ),
    "gpu": Preset(*("gpu", 0, 0), networks=3, evaluation_epochs=100, seeds=3),
    "paper": Preset(*("paper", 0, 0), networks=5, evaluation_epochs=300, seeds=5),
}
_NETWORKS = {"smoke": NetworkSpec(width=8), "laptop": NetworkSpec(width=16)}
_KEPT = {"smoke": 5, "laptop": 50, "gpu": 600, "paper": 600}
"""Images per class that are chosen."""


def cells(budget: Preset) -> list[Cell]:
    """Every choice at every share of flipped labels."""
    return [_cell(name, share, budget) for share in SHARES for name in CHOICES]


def _cell(name: str, share: float, budget: Preset) -> Cell:
    config = methods.find(name).config(name, _KEPT[budget.name], budget)
    network = _NETWORKS.get(budget.name, NetworkSpec())
    changes: dict[str, Any] = {"flipped": share, "across_classes": True}
    if name != "Random":
        changes["learner"] = network
    batch = 50 if budget.name == "laptop" else 256
    scorer = PublishedNetworks.within(Evaluation(network, batch=batch), budget)
    config = dataclasses.replace(config, **changes)
    return Cell(DATASET, name, config, CONVNET_NTK, scorer, cut=budget.cut)


def rebuilt_cells(budget: Preset, sets: Sequence[LearnedSet]) -> list[Cell]:
    """Every set as it is, then from so many components of either basis."""
    found = []
    for learned in sets:
        plain = scored_cell(learned, KRR(), budget, method="As learned")
        found.append(plain)
        for count in COMPONENTS:
            for basis, title in BASES.items():
                if basis == "lda_pca" and count >= WITHIN:
                    continue  # the discriminants lie within so many principal components
                config = RebuiltConfig.of(plain.config, basis, count)
                name = f"{title} {count}"
                found.append(dataclasses.replace(plain, method=name, config=config))
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Accuracy by choice and share of flipped labels; purity and rebuilt sets below."""
    specs = [
        CellSpec(
            {"Choice": cell.method, "Flipped": f"{cell.config.flipped:.0%}"},
            {"config_hash": cell.config_hash},
            needs="this script",
        )
        for cell in sorted(
            cells(largest_preset(rows, SCRIPT, PRESETS)),
            key=lambda cell: CHOICES.index(cell.method),
        )
    ]
    shape = Wide(("Choice",), "Flipped", "{} flipped")
    purity = ResultTable(
        "Purity: chosen images whose label is right",
        "In percent, of the same runs.",
        build_cells(specs, _with_purity(rows)),
        wide=shape,
    )
    rebuilt = ResultTable(
        "Learned MNIST images rebuilt from few components",
        "Test accuracy in percent by kernel ridge regression with the ConvNet NTK that the images "
        "were learned with. Lost is the share of the images' squared distance from the mean that "
        "the components do not keep, of the learned images and of the training images.",
        build_cells(_rebuilt_specs(rows), rows),
    )
    return ResultTable(
        "Coresets of MNIST with flipped labels",
        "Test accuracy in percent of networks trained on a tenth of the images, chosen across "
        "classes; mean over n seeds with its 95 % interval. A seed draws the flips, the network "
        "that gives the losses, and the networks that are tested. Laptop preset: 500 of the first "
        "5,000 training images, ConvNet of width 16, 2,000 test images.",
        build_cells(specs, rows),
        notes=(
            "No paper prints this table.",
            "Within one class score2 and score3 rank alike; the sets differ across classes.",
            *smoke_note(rows, "A smoke test: pooled to 8x8, 50 of 1,000 images, width 8."),
        ),
        appendices=(purity, *((rebuilt,) if rebuilt.cells else ())),
        wide=shape,
    )


def _with_purity(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that have a purity, in place of the accuracy."""
    return [{**row, "test_accuracy": row["purity"]} for row in rows if "purity" in row]


def _rebuilt_specs(rows: Sequence[Mapping[str, Any]]) -> list[CellSpec]:
    found = {}
    for row in rows:
        if row["table"] != SCRIPT or "support" not in row["config"]:
            continue
        config = row["config"]
        errors = [row.get(name) for name in ("reconstruction_error", "natural_error")]
        learned, natural = ("-" if error is None else f"{error:.1%}" for error in errors)
        label = {
            "Set": config["support"]["name"],
            "Components": row["method"],
            "Lost": learned,
            "Lost of natural": natural,
        }
        order = config["support"]["name"], config.get("components", 0), row["method"][::-1]
        found[order] = CellSpec(label, {"config_hash": row["config_hash"]})
    return [found[order] for order in sorted(found)]


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write accuracy and purity against the share of flipped labels, as far as they were run."""
    written = []
    purity = "purity: chosen labels that are right, %"
    for name, found, ylabel in (
        ("accuracy", rows, "test accuracy, %"),
        ("purity", _with_purity(rows), purity),
    ):
        lines: dict[str, dict[float, Estimate]] = {}
        for cell in cells(largest_preset(rows, SCRIPT, PRESETS)):
            runs = cell_runs(CellSpec({}, {"config_hash": cell.config_hash}), found)
            if runs:
                mean = estimate([100 * row["test_accuracy"] for row in runs])
                lines.setdefault(cell.method, {})[cell.config.flipped] = mean
        if lines:
            picture = with_intervals(
                lines,
                out / "pictures" / f"{SCRIPT}-{name}.png",
                xlabel="share of flipped labels",
                ylabel=ylabel,
                title="A tenth of MNIST, chosen despite wrong labels",
            )
            written.append(picture)
    return written


def draw_rebuilt(chosen: Sequence[Cell], options: RunOptions) -> list[Path]:
    """Write `pictures/figure_loss_buffer-<set>.png` for each set: what the components keep."""
    by_set: dict[str, list[Cell]] = {}
    for cell in chosen:
        by_set.setdefault(cell.config.support["name"], []).append(cell)
    written = []
    for name, group in by_set.items():
        images, captions = [], []
        for cell in group:
            data = prepared_data(cell, options.data_dir, options.execution)
            with tempfile.TemporaryDirectory() as nowhere:
                made = cell.method_object.run(data.problem(cell), cell.config, 0, Path(nowhere))
            images.append(data.transform.preview(made.images))
            captions += [cell.method] * len(made.images)
        picture = image_grid(
            np.concatenate(images),
            options.out / "pictures" / f"{SCRIPT}-{name}.png",
            captions=captions,
            title=f"{name}, rebuilt from so many components",
        )
        written.append(picture)
    return written


TABLE = Table(SCRIPT, table, draw)


def main(
    selection: SelectionArguments = Selection(),
    options: RunArguments = RunOptions(),
    *,
    flipped: tuple[float, ...] = (),
    checkpoints: Path = Path("checkpoints"),
) -> None:
    """Choose images of MNIST despite wrong labels, and rebuild learned ones from few components.

    Examples:
        python -m paper_repro.figure_loss_buffer
        python -m paper_repro.figure_loss_buffer --flipped 0.4 --methods Random Forgetting

    Args:
        selection: which runs; methods are "Random", "Loss buffer (score)", "PCA 9", ...
        options: how they are run.
        flipped: shares of flipped labels; default 0, 0.2, 0.4 and 0.6.
        checkpoints: directory of learned sets.
    """
    if unknown := [share for share in flipped if share not in SHARES]:
        known = ", ".join(map(str, SHARES))
        raise UserError(f"unknown share {unknown[0]} of flipped labels: choose from {known}")
    budget = find_preset(options.preset, PRESETS)
    sets = [learned for learned in read_catalogue(checkpoints) if _is_shown(learned)]
    rebuilt = rebuilt_cells(budget, sets)
    chosen = [
        cell
        for cell in selection.choose([*cells(budget), *rebuilt])
        if cell in rebuilt or not flipped or cell.config.flipped in flipped
    ]
    if flipped and all(cell in rebuilt for cell in chosen):
        raise UserError("--flipped changes nothing for the methods chosen: leave it out")
    run_table(TABLE, chosen, budget, options)
    for path in draw_rebuilt([cell for cell in chosen if cell in rebuilt], options):
        print(f"wrote {path}")


def _is_shown(learned: LearnedSet) -> bool:
    record = learned.record
    return (
        record["dataset"] == DATASET
        and is_by_convnet_kernel(learned)
        and record["images_per_class"] == 1
        and methods.find(record["method"]).learns_images
    )


if __name__ == "__main__":
    cli.run(main)
