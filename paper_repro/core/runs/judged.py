"""Every set by every judge: the exact kernel, and finite networks in PyTorch.

Sets are those of `checkpoints/` and those that methods without a stored set make now, as DC or a
coreset. `table_judges` and `figure_cross_architecture` are tables of these cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core import methods
from paper_repro.core.data import registry
from paper_repro.core.errors import UserError
from paper_repro.core.network.pytorch.spec import Evaluation, NetworkSpec
from paper_repro.core.runs.cell import Cell, cell_of, distilling_cell
from paper_repro.core.runs.presets import CONVNET, Preset
from paper_repro.core.runs.scorers import KRR, PublishedNetworks, Scorer
from paper_repro.core.runs.transfer_cells import CONVNET_NTK, method_of_set, scored_cell
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.tables.cells import CellSpec, ResultTable, Wide, build_cells

EXACT = "exact ConvNet NTK"
"""The judge that is kernel ridge regression with the paper's kernel."""


Row = Mapping[str, Any]
Place = tuple[str, int, str]

PRESETS = {
    # Of images of 8x8 nothing is left for the pools of most networks.
    name: dataclasses.replace(
        preset, image_side=None, **({"networks": 3} if name == "laptop" else {})
    )
    for name, preset in CONVNET.items()
}
"""Budgets by name; the laptop preset trains three networks a set."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """What scores a set.

    Attributes:
      title: what tables call it.
      network: the network that is trained on the set; None for the exact kernel.
    """

    title: str
    network: NetworkSpec | None = None

    def scorer(self, budget: Preset) -> Scorer:
        """It, with as many networks and epochs as the preset says."""
        if self.network is None:
            return KRR()
        return PublishedNetworks.within(Evaluation(self.network), budget)


def judged_cells(
    judges: Sequence[Judge],
    sets: Sequence[LearnedSet],
    made: Sequence[str],
    sizes: Sequence[tuple[str, int]],
    budget: Preset,
) -> list[Cell]:
    """Every set by every judge.

    Args:
      judges: what scores the sets.
      sets: stored sets.
      made: methods whose sets are made now, by their names in tables, where none is stored.
      sizes: data sets with images per class, for which `made` are run.
      budget: a preset; its `networks` count.

    Returns:
      Cells whose `method` is `KIP set` and the like for a stored set, which no other table takes
      for its own, and else the method's own name.
    """
    found = []
    stored = {
        (learned.record["dataset"], learned.record["images_per_class"], learned.record["method"])
        for learned in sets
    }
    for judge in judges:
        scorer = judge.scorer(budget)
        for learned in sets:
            name = f"{method_of_set(learned).title} set"
            found.append(scored_cell(learned, scorer, budget, method=name))
        for dataset, images in sizes:
            for method in made:
                if (dataset, images, method) in stored:
                    continue
                cell = distilling_cell(method, dataset, images, CONVNET_NTK, budget)
                found.append(dataclasses.replace(cell, scorer=scorer))
    return list({cell.config_hash: cell for cell in found}.values())


def require_methods(names: Sequence[str]) -> None:
    """Refuse a name that no method has; errors as in `methods.find`."""
    for name in names:
        methods.find(name)


def judged_table(
    title: str,
    caption: str,
    rows: Sequence[Mapping[str, Any]],
    script: str,
    judges: Sequence[Judge],
    notes: Sequence[str],
) -> ResultTable:
    """A line a set, a column a judge.

    Args:
      title, caption, notes: see `ResultTable`.
      rows: result rows; those of `script` and the ones that share a configuration count.
      script: the table whose rows these are.
      judges: the columns, in order.
    """
    shown = {_place(row) for row in rows if row["table"] == script}
    # place -> the run that learned the set -> (judge, rows)
    found: dict[Place, dict[str, list[tuple[str, Row]]]] = {}
    for row in rows:
        # Another table may have run a network on the same set.
        shared = row["config"].get("evaluation", {}).get("changes") == "none"
        if row["table"] != script and not (shared and _place(row) in shown):
            continue
        cell = cell_of(row["config"])
        if (judge := _judge(cell, judges)) is not None:
            learned = dataclasses.replace(cell, scorer=KRR()).config_hash
            found.setdefault(_place(row), {}).setdefault(learned, []).append((judge, row))
    specs = []
    for place in sorted(found, key=_order):
        # One run a line, so that all judges see one set.
        kept = max(found[place].values(), key=_worth)
        dataset, images, name = place
        line = {
            "Data set": registry.title(dataset),
            "Images per class": str(images),
            "Set": name,
        }
        for column in (judge.title for judge in judges):
            hashes = tuple(row["config_hash"] for judge, row in kept if judge == column)
            if hashes:
                specs.append(CellSpec({**line, "Judge": column}, {"config_hash": hashes}))
    cells = build_cells(specs, rows)
    wide = Wide(("Data set", "Images per class", "Set"), "Judge")
    return ResultTable(title, caption, cells, notes=tuple(notes), wide=wide)


def _order(place: Place) -> tuple[int, Place]:
    """Official data sets first, in the registry's order."""
    names = list(registry.DATASETS)
    return (names.index(place[0]) if place[0] in names else len(names)), place


def _worth(judged: Sequence[tuple[str, Row]]) -> tuple[int, int, str]:
    """Which of several runs of one name is shown: the one that spent most, then the latest."""
    config = cell_of(judged[0][1]["config"]).config
    done = [row["started"] for _, row in judged if row["status"] == "done"]
    return min(len(done), 1), methods.method_of(config).work(config), max(done, default="")


def _place(row: Row) -> Place:
    """The data set, size and title of the set that a row scores."""
    return row["dataset"], row["images_per_class"], _set_title(row)


def _judge(cell: Cell, judges: Sequence[Judge]) -> str | None:
    """The column of a cell."""
    network = getattr(getattr(cell.scorer, "evaluation", None), "network", None)
    return next((judge.title for judge in judges if judge.network == network), None)


def _set_title(row: Row) -> str:
    """`DC`, or the name of a stored set without data set and size, as in `KIP learned-noaug`."""
    support = row["config"].get("support")
    if not support:
        return row["method"]
    kind = support["name"].split(f"-ipc{row['images_per_class']}-", 1)[-1]
    return f"{row['method'].removesuffix(' set')}, {kind}"


def stored_sets(
    sets: Sequence[LearnedSet], datasets: Sequence[str], images: Sequence[int]
) -> list[LearnedSet]:
    """The sets of the given data sets and sizes.

    Raises:
      UserError: a data set that the registry does not have.
    """
    if unknown := [name for name in datasets if name not in registry.DATASETS]:
        known = ", ".join(registry.DATASETS)
        raise UserError(f"unknown data set {unknown[0]!r}: choose from {known}")
    return [
        learned
        for learned in sets
        if learned.record["dataset"] in datasets and learned.record["images_per_class"] in images
    ]
