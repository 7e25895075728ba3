"""Checking `croissant.json`: mlcroissant accepts it, and it describes these files and sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release import layout
from release.croissant import croissant, validate
from release.manifest import ManifestFile


def check_croissant(
    folder: Path, files: Mapping[str, ManifestFile], records: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is wrong with croissant.json, one line each.

    Args:
      folder: the release.
      files: of the manifest, by path.
      records: of the sets that could be read, by name.
    """
    path = folder / layout.CROISSANT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        return [f"{layout.CROISSANT} is not JSON ({error})"]
    if problems := validate(path):
        return problems
    expected = croissant([records[name] for name in sorted(records)], files)
    return [
        f"{layout.CROISSANT}: {part} does not describe the files and sets of this release"
        for part in ("distribution", "recordSet")
        if content.get(part) != expected[part]
    ]
