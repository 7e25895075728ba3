"""Score the sets of a checkpoints directory again, without training: `--evaluate-only`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.krr import Score
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.runs.cell import Cell
from paper_repro.core.runs.context import context
from paper_repro.core.runs.export import cell_of
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import SAME_IMAGES, score


def refuse_options_of_runs(**given: Any) -> None:
    """Raise UserError where options are given that only a run heeds, by the names of `main`."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        raise UserError(
            "--evaluate-only scores the sets in --checkpoints as they are and runs nothing: leave "
            f"out {', '.join(names)}"
        )


def rescore(cells: Sequence[Cell], checkpoints: Path, data_dir: Path | None) -> None:
    """Print KRR accuracy and MSE of every set that one of `cells` names, beside its record.

    Each set is scored with the kernel, transform and test images that its own record states. A
    last line names the cells without a set.

    Raises:
      UserError: no such set, other data or another transform than the set was made with (see
        `require_recorded`), or, after all are printed, a set that does not score what its record
        says (0.1 points).
    """
    names = {cell.set_name for cell in cells}
    found = [learned for learned in read_catalogue(checkpoints) if learned.name in names]
    if not found:
        raise UserError(f"{checkpoints} has no set of the chosen cells: {', '.join(sorted(names))}")
    wrong = []
    for learned in found:
        result, stated = _score(learned, data_dir), learned.record["metrics"]
        print(
            f"{learned.name}: test accuracy {100 * result.accuracy:.2f} %, MSE {result.mse:.5f} "
            f"on {result.n:,} images (record: {100 * stated['test_accuracy']:.2f} %, "
            f"{stated['test_mse']:.5f}; step {learned.record['step']})",
            flush=True,
        )
        if abs(result.accuracy - stated["test_accuracy"]) > SAME_IMAGES:
            wrong.append(learned.name)
    if missing := names - {learned.name for learned in found}:
        print(f"no set in {checkpoints}: {', '.join(sorted(missing))}")
    if wrong:
        raise UserError(f"these sets do not score what their records say: {', '.join(wrong)}")


def _score(learned: LearnedSet, data_dir: Path | None) -> Score:
    cell = cell_of(learned.record)
    shared = context(cell, data_dir)
    require_recorded(learned.name, learned.record, shared.dataset, shared.transform)
    return score(learned, shared.test, shared.kernel, cell.diag_reg)
