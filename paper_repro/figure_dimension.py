"""The intrinsic dimension of KIP sets over the training steps, beside that of natural images.

Figure 7 of arXiv 2107.13034: it grows with training. The dimension is that of TwoNN (Facco et al.
2017), of the images as the kernel sees them. Every set of `checkpoints/` whose images were learned
is measured at each of its kept steps, and 200 class-balanced draws of as many natural images with
the same preprocessing say what a set of that size is at before it is learned. No kernel is
computed: the figure takes a minute on two cores.

    python -m paper_repro.figure_dimension
    python -m paper_repro.figure_dimension --checkpoints my_checkpoints --out runs

Expected: growth with standard preprocessing, as published.

Deviations. The paper's figure does not state how many images its sets have. Those here that keep
their steps have ten, so that an interval spans a factor of two or three.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from paper_repro.core import cli, methods
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.pictures.intervals import Range, panels
from paper_repro.core.random import Purpose, generator
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.dimension import two_nn
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import require_writable, write_atomic

SCRIPT = "figure_dimension"

Point = dict[str, Any]
"""`set`, `line` (its kernel and method) and `step`, None for natural images; `data`, `images`, and
`dimension` with `low` and `high`."""


def over_steps(learned: LearnedSet, data: str, seed: int) -> list[Point]:
    """The dimension of a set at each kept step and at its own, with bootstrap intervals."""
    cell, found = cell_of(learned.record["config"]), []
    line = f"{cell.architecture} {cell.kernel.kernel}: {cell.method}"
    for step in (*learned.steps, learned.record["step"]):
        rng = generator(seed, Purpose.RESAMPLES, step)
        value, low, high, n = two_nn(learned.at_step(step).kernel_inputs, rng)
        point = _point(data, n, value, low, high)
        found.append({**point, "set": learned.name, "line": line, "step": step})
    return found


def of_natural(cell: Cell, data: str, draws: int, data_dir: Path | None) -> Point:
    """The mean over draws of as many natural images as the cell's set has, with their 95 % range.

    Args:
      cell: the cell that learned the set; it says the data, their preprocessing and the number.
      data: what to call them.
      draws: how many.
      data_dir: see `load_dataset`.
    """
    prepared = prepared_data(cell, data_dir, Execution())
    x, y = prepared.dataset.x_train, prepared.dataset.y_train
    sampler = ClassBalancedSampler(y, prepared.dataset.n_classes)
    values = []
    for seed in range(draws):
        rows = sampler.draw_per_class(cell.images_per_class, generator(seed, Purpose.SUPPORT))
        images = prepared.transform.apply(x[rows], np.float64)
        values.append(two_nn(images, generator(seed, Purpose.RESAMPLES), resamples=1).value)
    low, high = np.quantile(values, (0.025, 0.975))
    return _point(data, len(rows), np.mean(values), low, high)


def _point(data: str, images: int, value: float, low: float, high: float) -> Point:
    """Of natural images."""
    found = {"dimension": float(value), "low": float(low), "high": float(high)}
    return {"set": None, "line": None, "step": None, "data": data, "images": images, **found}


def draw(points: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write one panel for each kind of data: the sets over their steps, natural images a band."""
    lines: dict[str, dict[str, dict[float, Range]]] = {}
    bands: dict[str, Range] = {}
    for point in points:
        panel = f"{point['data']}, {point['images']} images"
        found = Range(point["dimension"], point["low"], point["high"])
        if point["set"] is None:
            bands[panel] = found
        else:
            lines.setdefault(panel, {}).setdefault(point["line"], {})[point["step"]] = found
    return panels(
        lines,
        path,
        bands=bands,
        band_name="natural images",
        xlabel="KIP steps",
        ylabel="intrinsic dimension (TwoNN)",
    )


def main(
    checkpoints: Path = Path("checkpoints"),
    out: Path = Path("runs"),
    draws: int = 200,
    seed: int = 0,
    data_dir: Path | None = None,
) -> None:
    """Measure the intrinsic dimension of learned sets over their steps, and of natural images.

    Examples:
        python -m paper_repro.figure_dimension
        python -m paper_repro.figure_dimension --checkpoints my_checkpoints --out runs

    Args:
        checkpoints: directory of learned sets.
        out: directory of figure_dimension.json and pictures/figure_dimension.png.
        draws: draws of natural images for each kind of data.
        seed: decides the resamples of the intervals.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    if draws < 2:
        raise UserError(f"a range of draws needs at least 2, not {draws}")
    sets = [learned for learned in read_catalogue(checkpoints) if _is_shown(learned)]
    if not sets:
        raise UserError(f"{checkpoints} has no set of learned images that keeps earlier steps")
    require_writable(out)
    points, natural = [], set()
    for learned in sets:
        cell = cell_of(learned.record["config"])
        data = registry.title(cell.dataset) + (", ZCA" if cell.zca else "")
        if (kind := (data, cell.images_per_class)) not in natural:
            natural.add(kind)
            points.append(of_natural(cell, data, draws, data_dir))
        points += over_steps(learned, data, seed)
    _print(points)
    result = {"script": SCRIPT, "draws": draws, "seed": seed, "points": points}
    write_atomic(out / f"{SCRIPT}.json", json.dumps(result, indent=1) + "\n")
    print(f"wrote {out / SCRIPT}.json and {draw(points, out / 'pictures' / f'{SCRIPT}.png')}")


def _print(points: Sequence[Mapping[str, Any]]) -> None:
    """The first and the last step of each set."""
    table = Table(Column("Set", overflow="fold"), "Images", "Step", "Dimension", "95 %")
    for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False):
        is_inner = before and after and before["set"] == point["set"] == after["set"]
        if not is_inner:
            name = point["set"] or f"natural images, {point['data']}"
            step = "" if point["step"] is None else f"{point['step']:,}"
            spread = f"{point['low']:.1f} to {point['high']:.1f}"
            table.add_row(name, str(point["images"]), step, f"{point['dimension']:.1f}", spread)
    Console().print(table)


def _is_shown(learned: LearnedSet) -> bool:
    made = methods.recorded_by(learned.record["config"])
    return bool(learned.steps) and made.learns_images and learned.record["step"] is not None


if __name__ == "__main__":
    cli.run(main)
