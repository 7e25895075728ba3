"""Modules that are loaded when they are first used: what is slow to import and often not needed.

A command line starts with its arguments, and JAX, SciPy, Numba or matplotlib would each take
longer than all else that `--help` does. A module that needs one of them only in some of its
functions names it at its top all the same:

    if TYPE_CHECKING:
        from paper_repro.core.methods.kip import training
    else:
        training = lazy("paper_repro.core.methods.kip.training")

The first branch is read by type checkers and by import-linter, the second one is what runs. It is
for modules of our own that take more than 0.3 s to import; all others are imported as usual.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def lazy(name: str) -> ModuleType:
    """The module `name`, executed when one of its attributes is first asked for.

    Its parent packages are imported at once.

    Args:
      name: absolute, such as `paper_repro.core.kernels.factory`.

    Raises:
      ModuleNotFoundError: there is no such module.

    Example:
      >>> colors = lazy("colorsys")
      >>> colors.rgb_to_hsv(1.0, 0.0, 0.0)
      (0.0, 1.0, 1.0)
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module
