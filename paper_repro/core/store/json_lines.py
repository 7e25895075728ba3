"""Objects kept one a line in a file that a killed process may have been writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper_repro.core.store.files import append_line, write_atomic

Entry = dict[str, Any]


class JsonLines:
    """The entries of a file, in order; without a path they live in memory alone.

    A line that is not whole, and what follows it, does not count; the next change removes it.

    Attributes:
      path: the file.
      entries: the entries in the order they were appended.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.entries: list[Entry] = []
        self._is_torn = False
        if path is None or not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not isinstance(entry, dict):
                break
            self.entries.append(entry)
        self._is_torn = text != self._text()

    def append(self, entry: Entry) -> None:
        """Add an entry, durably."""
        if self._is_torn:
            self._write()
        if self.path is not None:
            append_line(self.path, json.dumps(entry))
        self.entries.append(entry)

    def keep(self, wanted: Callable[[Entry], bool]) -> None:
        """Forget the entries that are not wanted."""
        self.entries = [entry for entry in self.entries if wanted(entry)]
        self._write()

    def _text(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.entries)

    def _write(self) -> None:
        if self.path is not None:
            write_atomic(self.path, self._text())
        self._is_torn = False
