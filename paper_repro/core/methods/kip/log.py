"""What a KIP run leaves in its directory: what it measured, one entry a step, and supports."""

from __future__ import annotations

from pathlib import Path

from paper_repro.core.errors import UserError
from paper_repro.core.store.json_lines import Entry, JsonLines

METRICS = "metrics.jsonl"
"""Scores at the official steps, in a run's directory."""


def support_path(directory: Path, step: int) -> Path:
    """Where a run keeps the support of an official step: tensors `images` and `labels`."""
    return directory / f"support_{step:06d}.safetensors"


def solved_path(directory: Path) -> Path:
    """Where a run keeps its set with the labels that were solved at the end."""
    return directory / "support_solved.safetensors"


class Log(JsonLines):
    """Entries with a `step`, in the order of their steps."""

    def drop_after(self, step: int) -> None:
        """Forget what an interrupted session measured beyond the state that was kept."""
        self.keep(lambda entry: entry["step"] <= step)

    def require(self, steps: set[int]) -> None:
        """The choice of a checkpoint needs every step that an earlier session has measured.

        Raises:
          UserError: one is missing.
        """
        if missing := steps - {entry["step"] for entry in self.entries}:
            raise UserError(
                f"{self.path} is damaged or gone, or was written with another test_share: step "
                f"{min(missing)} is not in it; delete {self.path.parent} and run again"
            )

    def has(self, step: int) -> bool:
        """Whether the step was measured."""
        return any(entry["step"] == step for entry in self.entries)

    def latest(self) -> Entry:
        """The last entry; empty before the first."""
        return self.entries[-1] if self.entries else {}
