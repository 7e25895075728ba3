"""One colour per kind of verdict, shared by the terminal and the PNG."""

from __future__ import annotations

from paper_repro.core.tables.verdict import Verdict

# verdict -> (fill and text of the PNG, style in the terminal)
_STYLES = {
    Verdict.MATCHES: ("#d5efdb", "#12602a", "green"),
    Verdict.HIGHER: ("#d6e6fa", "#12458a", "cyan"),
    Verdict.LOWER_REDUCED: ("#fdecc8", "#7a4d00", "yellow"),
    Verdict.LOWER_FULL: ("#fbd9d6", "#97190f", "red"),
}
_MARKS = {
    Verdict.MATCHES: "🟩",
    Verdict.HIGHER: "🟦",
    Verdict.LOWER_REDUCED: "🟨",
    Verdict.LOWER_FULL: "🟥",
}
MARKS = {mark: str(verdict) for verdict, mark in _MARKS.items()}
"""Coloured squares for Markdown, with what they mean."""

_QUIET = ("#eeeeee", "#555555", "dim")


def fill(verdict: str) -> str:
    """Background colour of a verdict in a picture."""
    return _style(verdict)[0]


def ink(verdict: str) -> str:
    """Text colour of a verdict in a picture."""
    return _style(verdict)[1]


def terminal(verdict: str) -> str:
    """Rich style of a verdict."""
    return _style(verdict)[2]


def mark(verdict: str) -> str:
    """The coloured square of a verdict in Markdown; nothing where nothing was run."""
    return _MARKS.get(verdict, "")


def _style(verdict: str) -> tuple[str, str, str]:
    return _STYLES.get(verdict, _QUIET)  # StrEnum members hash and compare as their strings
