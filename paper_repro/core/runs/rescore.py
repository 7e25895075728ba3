"""Score the sets of a checkpoints directory again, without training: `--evaluate-only`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.krr import Score
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.runs.options import RunOptions
from paper_repro.core.runs.prepared_data import prepared_data
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import SAME_IMAGES, score


@dataclasses.dataclass(frozen=True)
class Rescoring:
    """Whether a table scores stored sets instead of running its cells.

    Attributes:
      evaluate_only: train nothing, score the learned sets in `checkpoints` instead.
      checkpoints: directory of learned sets.
    """

    evaluate_only: bool = False
    checkpoints: Path = Path("checkpoints")

    def rescore(self, cells: Sequence[Cell], options: RunOptions, **of_runs: Any) -> None:
        """Print KRR accuracy and MSE of every set that one of `cells` names, beside its record.

        Each set is scored with the kernel, transform and test images that its own record states.
        A last line names the cells without a set.

        Args:
          cells: what is scored.
          options: how; seeds mean nothing here.
          **of_runs: options that only a run heeds, by their names on the command line.

        Raises:
          UserError: one of these options is given; no such set, other data or another transform
            than the set was made with (see `require_recorded`), or, after all are printed, a set
            that does not score what its record says (0.1 points).
        """
        _refuse(seeds=options.seeds, **of_runs)
        names = {cell.set_name for cell in cells}
        found = [s for s in read_catalogue(self.checkpoints) if s.name in names]
        if not found:
            wanted = ", ".join(sorted(names))
            raise UserError(f"{self.checkpoints} has no set of the chosen cells: {wanted}")
        wrong = []
        for learned in found:
            result, stated = _score(learned, options), learned.record["metrics"]
            print(
                f"{learned.name}: test accuracy {100 * result.accuracy:.2f} %, MSE "
                f"{result.mse:.5f} on {result.n:,} images (record: "
                f"{100 * stated['test_accuracy']:.2f} %, {stated['test_mse']:.5f}; step "
                f"{learned.record['step']})",
                flush=True,
            )
            if abs(result.accuracy - stated["test_accuracy"]) > SAME_IMAGES:
                wrong.append(learned.name)
        if missing := names - {learned.name for learned in found}:
            print(f"no set in {self.checkpoints}: {', '.join(sorted(missing))}")
        if wrong:
            raise UserError(f"these sets do not score what their records say: {', '.join(wrong)}")


def _refuse(**given: Any) -> None:
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        raise UserError(
            "--evaluate-only scores the sets in --checkpoints as they are and runs nothing: leave "
            f"out {', '.join(names)}"
        )


def _score(learned: LearnedSet, options: RunOptions) -> Score:
    cell = cell_of(learned.record["config"])
    data = prepared_data(cell, options.data_dir, options.execution)
    require_recorded(learned.name, learned.record, data.dataset, data.transform)
    return score(learned, data.test, data.kernel_fn, learned.record["diag_reg"])
