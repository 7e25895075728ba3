"""Importing late what takes long: the one way in which this project does it.

A command prints its `--help` before JAX (0.5 s) is imported. Two cases:

- a module uses another one that takes more than 0.3 s to import, in some of its functions alone.
  It names it at its top, for type checkers and import-linter as usual, and late at run time:

      if TYPE_CHECKING:
          from paper_repro.core.methods.kip import training
      else:
          training = lazy.module("paper_repro.core.methods.kip.training")

- a package exports names of such modules (PEP 562): in its `__init__`,
  `__getattr__, __dir__, __all__ = lazy.exports(__name__, {"load": "release.load"})`.

Everything else is imported at the top of a module as usual.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class LazyModule:
    """Stands for a module, which is imported when an attribute of it is first read.

    Reading and replacing an attribute (as a test does) are those of the module itself.
    """

    def __init__(self, name: str):
        object.__setattr__(self, "_name", name)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(importlib.import_module(self._name), attribute, value)

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
      places: the module in which each exported name is defined. A name with a module of its own
        in the package is that module.

    Example:
      >>> get, listed, names = exports("shapes", {"sqrt": "math"})
      >>> get("sqrt")(9.0), names
      (3.0, ['sqrt'])
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(places[name])
        return module if places[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted(places), sorted(places)
