"""Figure 3 of arXiv 2107.13034: transfer against the network's width and the KIP training step.

Finite ConvNets on one KIP set (fixed labels, no augmentation) and one LS set at widths from 8 up,
with intervals over seeds; then, at the reference width, on the supports of KIP at its official
steps, with MSE and cross entropy, for every kind of KIP set at hand: fixed and learned labels,
without and with augmented targets. Settings are chosen on validation once for each line, at the
reference width and the final step.

    python -m paper_repro.figure3_width --datasets cifar10 --ipc 1
    python -m paper_repro.figure3_width --preset gpu --widths 64 128 256 512 1024 2048
    python -m paper_repro.figure3_width --npz kip.npz --datasets cifar10

On two free cores the laptop preset takes about half an hour with 10 images, if KIP sets of both
kinds of labels with their series are in `checkpoints/`; half of that for `--parts width`.

Deviations: the ranges of the settings are ours, as in `table2_transfer`; `--augmented-supports`
adds lines whose supports are shifted and flipped while the network trains, which are ours too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from paper_repro.core import cli
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.pictures.intervals import with_intervals
from paper_repro.core.runs.options import (
    NetworkArguments,
    NetworkOptions,
    Selection,
    SelectionArguments,
)
from paper_repro.core.runs.presets import find_preset, overridden
from paper_repro.core.runs.runner import Table, run_cells, run_table
from paper_repro.core.runs.transfer_cells import FILE_TO_NN, FINITE, SetSource
from paper_repro.core.runs.transfer_lines import (
    PARTS,
    STEP,
    WIDTH,
    cells,
    choice_cells,
    chosen_sets,
)
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.rows import rows_for
from paper_repro.core.tables.cells import (
    CellSpec,
    ResultTable,
    build_cells,
    cell_runs,
    smoke_note,
)
from paper_repro.core.tables.statistics import Estimate, estimate

SCRIPT = "figure3_width"
PRESETS = {
    "smoke": FINITE["smoke"],
    "laptop": dataclasses.replace(FINITE["laptop"], seeds=3),
    "gpu": dataclasses.replace(FINITE["gpu"], network_width=64),
    "paper": dataclasses.replace(FINITE["paper"], network_width=64),
}
"""Their width is the one at which settings are chosen."""

WIDTHS = {"smoke": (4, 8), "laptop": (8, 16, 32, 64, 128)}
_MORE_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Our figures: the paper prints this figure without its numbers."""
    own = [row for row in rows if row["table"] == SCRIPT]
    smoke = smoke_note(own, "A smoke test.")
    caption = (
        "Test accuracy in percent, all test images; mean over n seeds (initialisation and batches) "
        "with its 95 % interval. {} Settings were chosen on validation once for each set, loss "
        "and augmentation, at the final step and the reference width."
    )
    by_step = build_cells(_specs(own, STEP), own)
    by_step = [cell for cell in by_step if cell.ours is not None]
    appendices = ()
    if by_step:
        title = "Transfer against the KIP training step"
        text = caption.format("Labels and step say which support was trained on.")
        appendices = (ResultTable(title, text, by_step, notes=smoke),)
    by_width = build_cells(_specs(own, WIDTH), own)
    by_width = [cell for cell in by_width if cell.ours is not None]
    return ResultTable(
        "Transfer to finite ConvNets against their width",
        caption.format("Standard parameterisation."),
        by_width or build_cells([_NOT_RUN], []),
        notes=(
            "The paper draws these curves and prints no figures.",
            *smoke,
        ),
        appendices=appendices,
    )


_NOT_RUN = CellSpec(
    {
        "Data set": "CIFAR-10",
        "Images per class": "1",
        "Trained on": "KIP",
        "Labels": "fixed",
        "Width": "64",
    },
    needs=f"`python -m paper_repro.{SCRIPT}`",
)


def _specs(rows: Sequence[Mapping[str, Any]], what: str) -> list[CellSpec]:
    """One spec a point; a line holds points of one setting alone, that of its last row."""
    specs, settings_of = {}, {}
    for row in reversed(rows):
        if not row["method"].endswith(f", {what}") or row["status"] != "done":
            continue
        network = row["config"]["network"]
        label = {
            "Data set": registry.title(row["dataset"]),
            "Images per class": str(row["images_per_class"]),
            "Trained on": _trained_on(row),
            "Labels": "learned" if row["learned_labels"] else "fixed",
        }
        if row["augmentation"]:
            label["Trained on"] += " (a)"
        if what == STEP:
            label["Loss"] = network["loss"][0]
            label["Supports augmented"] = "yes" if network.get("augmentation") else "no"
            label["KIP step"] = str(row["step"])
        else:
            label["Width"] = str(row["width"])
        position = row["step"] if what == STEP else row["width"]
        line = *(v for k, v in label.items() if k not in ("KIP step", "Width")), row["preset"]
        setting = row["support"]["name"], {**network, "width": None}
        if what == WIDTH:
            setting += (row["support"]["sha256"],)
        if settings_of.setdefault(line, setting) == setting:
            specs[(*line, position)] = CellSpec(label, {"config_hash": row["config_hash"]})
    return [specs[key] for key in sorted(specs)]


def _trained_on(row: Mapping[str, Any]) -> str:
    if row["method"].startswith(FILE_TO_NN):
        return row["config"]["support"]["name"]
    return row["method"].split()[0]


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Write `pictures/figure3_width.png` and `pictures/figure3_steps.png`, as far as rows go."""
    own = [row for row in rows if row["table"] == SCRIPT]
    written = []
    for what, name, position, title in (
        (WIDTH, "figure3_width", "width", "Transfer against the width of the network"),
        (STEP, "figure3_steps", "step", "Transfer against the KIP training step"),
    ):
        lines: dict[str, dict[float, Estimate]] = {}
        for spec in _specs(own, what):
            runs = cell_runs(spec, own)
            if not runs:
                continue
            found = estimate([100 * row["test_accuracy"] for row in runs])
            lines.setdefault(_line(spec.label), {})[runs[0][position] or 0] = found
        if lines:
            path = out / "pictures" / f"{name}.png"
            base = 2 if what == WIDTH else None
            xlabel = "width (channels)" if what == WIDTH else "KIP step"
            written.append(with_intervals(lines, path, xlabel=xlabel, title=title, log_base=base))
    return written


def _line(label: Mapping[str, str]) -> str:
    size = f"{label['Data set']}, {label['Images per class']} a class, {label['Trained on']}"
    words = [size, f"{label['Labels']} labels"]
    words += [label["Loss"]] if "Loss" in label else []
    words += ["supports augmented"] if label.get("Supports augmented") == "yes" else []
    return ", ".join(words)


TABLE = Table(SCRIPT, table, draw)


def main(
    selection: SelectionArguments = Selection(ipc=(1,)),
    options: NetworkArguments = NetworkOptions(),
    source: tyro.conf.OmitArgPrefixes[SetSource] = SetSource(),
    *,
    parts: tuple[str, ...] = PARTS,
    widths: tuple[int, ...] = (),
    width: int | None = None,
    steps: int | None = None,
    augmented_supports: bool = False,
) -> None:
    """Transfer against the network's width and the KIP training step (arXiv 2107.13034, Figure 3).

    Examples:
        python -m paper_repro.figure3_width --datasets cifar10 --ipc 1
        python -m paper_repro.figure3_width --parts width --widths 16 64 --seeds 0 1
        python -m paper_repro.figure3_width --npz kip.npz --datasets cifar10 --preprocess zca

    Args:
        selection: which sets are drawn: data sets that have one in `checkpoints`, default
            cifar10, or the one that the images of npz files stand for. There are no methods to
            choose from, and files are of the size they are.
        options: how they are run; default seeds 0, 1 and 2, at the laptop preset 0 alone for the
            KIP steps.
        source: the sets; of npz files the widths alone are drawn, a line each.
        parts: "width", "step" or both; default both.
        widths: widths of the networks; default 8 to 128 at the laptop preset, to 2,048 above.
        width: the reference width at which settings are chosen; default 64.
        steps: updates of the network instead of the preset's.
        augmented_supports: draw the KIP steps with shifted and flipped supports as well.
    """
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"unknown part {min(unknown)!r}: choose from {', '.join(PARTS)}")
    budget = overridden(
        find_preset(options.preset, PRESETS), network_width=width, network_steps=steps
    )
    if selection.methods:
        raise UserError("every KIP and LS set is drawn: leave out --methods")
    if widths and "width" not in parts:
        raise UserError("--widths needs --parts width: add that part, or leave out --widths")
    if any(each < 1 for each in widths):
        raise UserError(f"widths must be at least 1, got {min(widths)}")
    sets, parts = _sets(selection, source, options, parts, augmented_supports)
    choices = choice_cells(budget, sets, parts, augmented_supports)
    unfinished = run_cells(SCRIPT, choices, [0], options)
    widths = widths or WIDTHS.get(options.preset, _MORE_WIDTHS)
    known = rows_for(SCRIPT, options.out, smoke=options.is_smoke)
    chosen = cells(budget, sets, parts, widths, known, augmented_supports)
    if not chosen:
        unfinished.require_none()
        raise UserError("nothing to draw: these sets keep no earlier steps")
    by_step = [cell for cell in chosen if cell.method.endswith(STEP)]
    by_width = [cell for cell in chosen if cell.method.endswith(WIDTH)]
    # Many steps and variants: at the laptop preset one seed of each.
    few = budget.seeds if options.preset in ("gpu", "paper") else 1
    of_steps = dataclasses.replace(options, seeds=options.seeds or tuple(range(few)))
    if not by_width:
        return run_table(TABLE, by_step, budget, of_steps, before=unfinished)
    run_cells(SCRIPT, by_step, of_steps.seeds, options, unfinished)
    run_table(TABLE, by_width, budget, options, before=unfinished)


def _sets(
    selection: Selection,
    source: SetSource,
    options: NetworkOptions,
    parts: Sequence[str],
    augmented_supports: bool,
) -> tuple[list[LearnedSet], Sequence[str]]:
    """The sets that are drawn, and the parts that can be."""
    if source.npz:
        if selection.ipc != (1,):
            raise UserError("the size of --npz files is fixed: leave out --ipc")
        if "width" not in parts or augmented_supports:
            raise UserError(
                "--npz files have no series of KIP steps: leave out --parts and "
                "--augmented-supports"
            )
        return source.file_sets(selection.datasets, options.data_dir), ("width",)
    datasets, sizes = selection.datasets or ("cifar10",), selection.ipc
    everything = source.convolutional_sets()
    sets = [s for d in datasets for i in sizes for s in chosen_sets(everything, d, i, parts)]
    if not sets:
        raise UserError(
            f"{source.checkpoints} has no ConvNet set of {', '.join(datasets)} with "
            f"{', '.join(map(str, sizes))} images per class"
        )
    return sets, parts


if __name__ == "__main__":
    cli.run(main)
