"""Importing late what takes long: the one way in which this project does it.

A command prints its `--help` before JAX (0.5 s) is imported. Two cases:

- a package exports names of modules that are slow to import (PEP 562): in its `__init__`,
  `__getattr__, __dir__, __all__ = lazy.exports(__name__, {"load": "release.load"})`;
- a command calls a module that is slow to import: at the top of its module
  `export = lazy.module("paper_repro.core.runs.export")`, in its body `export.export(...)`.

Everything else is imported at the top of a module as usual.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class LazyModule:
    """Stands for a module, which is imported when an attribute of it is first read."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"<lazy module {self._name}>"


def module(name: str) -> Any:
    """The module `name`, imported when an attribute of it is first read.

    Args:
      name: absolute name of the module; a wrong one raises when it is first used.
    """
    return LazyModule(name)


def exports(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package that exports names late.

    Args:
      package: the `__name__` of the package.
      places: the module in which each exported name is defined. No name may be that of a module
        in the package: importing that module would put it in the place of the name.

    Example:
      >>> get, listed, names = exports("shapes", {"sqrt": "math"})
      >>> get("sqrt")(9.0), names
      (3.0, ['sqrt'])
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(places[name]), name)

    return get, lambda: sorted(places), sorted(places)
