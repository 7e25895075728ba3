"""What a table leaves without a number, and the error that says so once the rest is printed."""

from __future__ import annotations

import dataclasses

from paper_repro.core.data.unavailable import DatasetUnavailable
from paper_repro.core.errors import UserError


@dataclasses.dataclass
class Undone:
    """The runs without a finished row.

    Attributes:
      missing: by name, data sets that no source has, whose cells were not run.
      diverged: the runs that diverged, in words.
    """

    missing: dict[str, DatasetUnavailable] = dataclasses.field(default_factory=dict)
    diverged: list[str] = dataclasses.field(default_factory=list)

    def require_none(self) -> None:
        """Raise UserError that names them, if there are any."""
        problems = []
        if self.missing:
            reasons = "; ".join(str(error) for error in self.missing.values())
            problems.append(f"the cells of {', '.join(self.missing)} were left out: {reasons}")
        if self.diverged:
            n = len(self.diverged)
            runs = f"{n} run{'s' if n > 1 else ''} diverged"
            problems.append(f"{runs}: {', '.join(self.diverged)}; their rows give the reasons")
        if problems:
            raise UserError("; ".join(problems))
