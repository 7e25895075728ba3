"""What the user sees while data is fetched: one console on stderr, progress bars with an ETA."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def say(message: str) -> None:
    """Print one line to stderr."""
    print(message, file=sys.stderr, flush=True)


def byte_progress() -> Progress:
    """A progress bar in bytes, with rate and remaining time, on stderr."""
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=_console(),
    )


def count_progress() -> Progress:
    """A progress bar in items, with remaining time, on stderr."""
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=_console(),
    )


def _console():
    from rich.console import Console

    return Console(stderr=True)
