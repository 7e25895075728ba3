"""From result rows to table cells: which rows belong to a cell, their mean, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from paper_repro.core.sets.record import is_reduced
from paper_repro.core.store.row_schema import PRESETS
from paper_repro.core.tables.published.records import PublishedFigure
from paper_repro.core.tables.statistics import Estimate, estimate
from paper_repro.core.tables.verdict import Verdict, not_run, verdict

Row = Mapping[str, Any]

_PHRASES = {
    "steps": "{} steps",
    "n_train": "{} training images",
    "n_targets": "{} targets",
    "n_test": "{} test images",
    "kip_steps": "{} KIP steps",
    "kip_target_batch": "KIP target batch {}",
    "iterations": "{} iterations",
    "real_batch": "{} natural images a class",
    "feature_epochs": "{} epochs of the network that chooses",
    "outer_steps": "{} outer steps",
    "outer_batch": "{} natural images a step",
    "networks": "{} networks",
    "epochs": "{} epochs",
}


class HasRows(Protocol):
    """What says which rows are its own.

    Attributes:
      match: see `CellSpec.match`.
    """

    @property
    def match(self) -> Mapping[str, Any]:
        """See `CellSpec.match`."""


@dataclass(frozen=True)
class CellSpec:
    """One cell of a table, before any result.

    Attributes:
      label: column -> text of the leading columns, in order.
      match: what a row of this cell has, field -> value. A tuple or set allows any of its values,
        a dotted field looks inside an object (`"config.width"`).
      published: the figure to compare with, None where there is none.
      paper_budget: the published budget in words.
      needs: what a run of this cell takes, printed while there is none.
      published_only: this project does not run the method; only the figure is printed.
    """

    label: Mapping[str, str]
    match: Mapping[str, Any] = field(default_factory=dict)
    published: PublishedFigure | None = None
    paper_budget: str = ""
    needs: str = "a run"
    published_only: bool = False

    @classmethod
    def of(
        cls,
        cell: HasRows,
        label: Mapping[str, str],
        published: PublishedFigure | None = None,
        paper_budget: str = "",
        needs: str = "a run",
    ) -> CellSpec:
        """The line of a cell: the rows of that cell fill it, whatever they spent.

        Args:
          cell: what is run for it (`runs.cell.Cell`).
          label, published, paper_budget, needs: see the attributes.
        """
        return cls(label, cell.match, published, paper_budget, needs)


def smoke_note(rows: Iterable[Row], text: str) -> tuple[str, ...]:
    """The note of a table that shows a smoke test, if `rows` are of one."""
    return (text,) if any(row["preset"] == "smoke" for row in rows) else ()


@dataclass(frozen=True)
class TableCell:
    """One line of a rendered table. Accuracies are in percent.

    `ours` is None where nothing was run; `our_budget` names the preset and what it spent.
    """

    label: Mapping[str, str]
    published: PublishedFigure | None
    ours: Estimate | None
    paper_budget: str
    our_budget: str
    verdict: str

    @property
    def difference(self) -> float | None:
        """Ours minus the published accuracy, in points."""
        if self.ours is None or self.published is None:
            return None
        return self.ours.mean - self.published.accuracy_percent


@dataclass(frozen=True)
class Wide:
    """Which label columns of a table become lines, and which one becomes columns.

    Attributes:
      rows: names of the label columns that begin a line.
      column: the label column whose values become columns.
      heading: what stands over such a column, `{}` being the value.
    """

    rows: tuple[str, ...]
    column: str
    heading: str = "{}"


@dataclass(frozen=True)
class ResultTable:
    """A table as the renderers take it.

    Attributes:
      title: one line.
      caption: a paragraph under the title; what the columns mean.
      cells: the lines, in order; all with the same label columns.
      notes: lines under the table.
      appendices: further tables that belong to this one.
      wide: the shape in which the table is printed in short; None prints a line a cell.
    """

    title: str
    caption: str
    cells: Sequence[TableCell]
    notes: Sequence[str] = ()
    appendices: Sequence[ResultTable] = ()
    wide: Wide | None = None

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Names of the leading columns: those of every cell, in the order they first appear."""
        return tuple(dict.fromkeys(column for cell in self.cells for column in cell.label))

    def restricted(self, keep: Callable[[TableCell], bool]) -> ResultTable:
        """The table and its appendices with those lines only; appendices without any are left out.

        Notes that speak of single lines stay.
        """
        appendices = (part.restricted(keep) for part in self.appendices)
        return replace(
            self,
            cells=[cell for cell in self.cells if keep(cell)],
            appendices=tuple(part for part in appendices if part.cells),
        )


def build_cells(specs: Iterable[CellSpec], rows: Iterable[Row]) -> list[TableCell]:
    """Fill each spec from the done rows that match it.

    Rows of different configurations are never averaged: the one that spent most on the set is shown
    (KIP steps times targets, targets of Label Solve, DC's iterations times natural images, ...); of
    equals the one whose finite networks took most, the one of the largest preset, the one with the
    most seeds, the one started last. A row that stands
    in several files counts once.
    """
    rows = list(rows)
    return [_cell(spec, [r for r in rows if matches(r, spec.match)]) for spec in specs]


def cell_runs(spec: CellSpec, rows: Iterable[Row]) -> list[Row]:
    """The rows that a cell averages: see `build_cells`."""
    return select_runs(row for row in rows if matches(row, spec.match))


def select_runs(rows: Iterable[Row]) -> list[Row]:
    """The done rows of one cell to be averaged: one configuration, one row a seed."""
    done = [r for r in rows if r["status"] == "done"]
    # By hash alone: presets may share a configuration, and no seed of it is run twice.
    groups: dict[str, dict[int, Row]] = {}
    for row in done:
        groups.setdefault(row["config_hash"], {}).setdefault(row["seed"], row)
    if not groups:
        return []
    best = max(
        groups,
        key=lambda key: (
            max(_work(row) for row in groups[key].values()),
            max(_rank(row) for row in groups[key].values()),
            len(groups[key]),
            max(r["started"] for r in groups[key].values()),
            key,
        ),
    )
    return [groups[best][seed] for seed in sorted(groups[best])]


def cells_by_config(
    rows: Sequence[Row], label_of: Callable[[Row], Mapping[str, str] | None]
) -> list[TableCell]:
    """A cell without a published figure for each configuration, in the order of the rows.

    Args:
      rows: result rows.
      label_of: the label of a row's cell, None where its configuration is left out.
    """
    specs = {}
    for row in rows:
        if (label := label_of(row)) is not None:
            match = {"config_hash": row["config_hash"]}
            specs[row["config_hash"]] = CellSpec(label, match, needs="the same command again")
    return build_cells(specs.values(), rows)


def describe_budget(rows: Sequence[Row]) -> str:
    """What the rows of one cell spent: presets, then each budget entry; ranges of differing."""
    if not rows:
        return ""
    presets = " / ".join(dict.fromkeys(row["preset"] for row in rows))
    return ", ".join(
        part for part in (presets, describe_spent([r["budget"] for r in rows])) if part
    )


def describe_spent(budgets: Sequence[Mapping[str, Any]]) -> str:
    """Each entry of some budgets, ranges of differing ones."""
    keys = dict.fromkeys(k for budget in budgets for k in budget if k != "reduced")
    parts = (_entry(k, [b[k] for b in budgets if k in b]) for k in keys)
    return ", ".join(part for part in parts if part)


def _cell(spec: CellSpec, rows: list[Row]) -> TableCell:
    runs = [] if spec.published_only else select_runs(rows)
    ours = estimate([100 * r["test_accuracy"] for r in runs]) if runs else None
    return TableCell(
        label=dict(spec.label),
        published=spec.published,
        ours=ours,
        paper_budget=spec.paper_budget,
        our_budget=describe_budget(runs) + _diverged(runs, rows),
        verdict=_verdict(spec, ours, runs, rows),
    )


def _diverged(runs: Sequence[Row], rows: Iterable[Row]) -> str:
    """How many seeds of the configuration have no number because they diverged."""
    hashes, done = {r["config_hash"] for r in runs}, {r["seed"] for r in runs}
    failed = {r["seed"] for r in rows if r["config_hash"] in hashes and r["status"] == "failed"}
    if not (lost := len(failed - done)):
        return ""
    return f"; {lost} more seed{'s' if lost > 1 else ''} diverged"


def _verdict(spec: CellSpec, ours: Estimate | None, runs: list[Row], rows: list[Row]) -> str:
    if spec.published_only:
        return str(Verdict.PUBLISHED_ONLY)
    if ours is None:
        last = max(rows, key=lambda r: r["started"], default={"status": ""})["status"]
        after = {
            "failed": "; the last attempt failed",
            "interrupted": "; interrupted, the same command resumes",
        }
        return not_run(spec.needs + after.get(last, ""))
    if spec.published is None:
        return str(Verdict.UNPUBLISHED)
    if any(row["preset"] == "smoke" for row in runs):
        return str(Verdict.SMOKE)
    # A figure without a plus-minus is one run: one of ours would differ from our mean as well.
    alone = spec.published.plus_minus is None
    return str(
        verdict(
            ours.mean,
            ours.draw_half_width if alone else ours.half_width,
            spec.published.accuracy_percent,
            spec.published.plus_minus,
            any(is_reduced(r) for r in runs),
        )
    )


def _work(row: Row) -> tuple[int, int]:
    """Of the set (or of the one that a network was trained on), then of the networks."""
    config, budget = row["config"], row["budget"]
    steps = config.get("steps") or budget.get("kip_steps") or config.get("iterations") or 0
    targets = config.get("target_batch") or budget.get("kip_target_batch")
    steps, targets = steps or budget.get("outer_steps") or 0, targets or budget.get("outer_batch")
    network = config.get("network") or {}
    evaluation = config.get("evaluation") or config.get("unrolled") or {}
    trained = evaluation.get("networks", 0) * evaluation.get("epochs", 1)
    spent = network.get("width", 0) * network.get("steps", 0) or trained
    learned = steps * (targets or config.get("real_batch") or 0)
    return learned or budget.get("n_targets") or budget.get("feature_epochs") or 0, spent


def _rank(row: Row) -> int:
    return PRESETS.index(row["preset"])


def matches(row: Row, match: Mapping[str, Any]) -> bool:
    """Whether a row has what `CellSpec.match` asks for."""
    for name, wanted in match.items():
        value: Any = row
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        allowed = wanted if isinstance(wanted, tuple | list | set | frozenset) else (wanted,)
        if value not in allowed:
            return False
    return True


def _entry(key: str, values: list[Any]) -> str:
    phrase = _PHRASES.get(key, key.replace("_", " ") + " {}")
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = min(values), max(values)
        number = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
        return phrase.format(number).removesuffix("s" if number == "1" else "")
    texts = dict.fromkeys(str(v) for v in values if v is not None)
    return phrase.format(" / ".join(texts)) if texts else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
