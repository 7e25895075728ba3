"""The methods that distil a data set, one file or folder each, and the registry of them.

A new method is a file here with a subclass of `method.Method`, and one entry of `_METHODS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.methods.coresets import RandomCoreset, SelectedCoreset
from paper_repro.core.methods.dataset_distillation import DD
from paper_repro.core.methods.gradient_matching import DC
from paper_repro.core.methods.kip import KIP
from paper_repro.core.methods.label_distillation import LD
from paper_repro.core.methods.label_solve import LabelSolve
from paper_repro.core.methods.method import Method, MethodConfig
from paper_repro.core.methods.random_draw import Random
from paper_repro.core.methods.rebuilt import Rebuilt
from paper_repro.core.methods.stored import Stored

_METHODS: list[Method] = [
    LabelSolve(),
    KIP(),
    DC(),
    DD(),
    LD(),
    Random(),
    RandomCoreset(),
    SelectedCoreset(),
    Stored(),
    Rebuilt(),
]


def methods() -> tuple[Method, ...]:
    """Every registered method."""
    return tuple(_METHODS)


def find(variant: str) -> Method:
    """The method with this name in tables, such as `KIP (a + l)`.

    Raises:
      UserError: no method has it; the known names are listed.

    Example:
      >>> find("KIP (l)").config("KIP (l)", 10).learn_labels
      True
    """
    for method in _METHODS:
        if variant in method.variants:
            return method
    known = ", ".join(f'"{name}"' for method in _METHODS for name in method.variants)
    raise UserError(f"unknown method {variant!r}: choose from {known}")


def has(variant: str) -> bool:
    """Whether a method has this name in tables."""
    return any(variant in method.variants for method in _METHODS)


def method_of(config: MethodConfig) -> Method:
    """The method whose config this is."""
    return next(method for method in _METHODS if type(config) is method.config_type)


def is_known(recorded: Mapping[str, Any]) -> bool:
    """Whether a result row's configuration is of a method that this version has."""
    return any(method.has_recorded(recorded) for method in _METHODS)


def recorded_by(recorded: Mapping[str, Any]) -> Method:
    """The method of a result row's configuration.

    Raises:
      UserError: the row is of a method that this version does not have.
    """
    for method in _METHODS:
        if method.has_recorded(recorded):
            return method
    procedure = recorded["procedure"]
    raise UserError(
        f"a row names the procedure {procedure!r}, which this version does not have: use the "
        "version that wrote it, or leave its file out of the directory of results"
    )


def has_natural_images(record: Mapping[str, Any]) -> bool:
    """Whether the images of a set are training images as they are, by the set's record."""
    name = record["method"]
    return has(name) and not find(name).learns_images


@contextlib.contextmanager
def registered(method: Method) -> Iterator[Method]:
    """Have one more method for the length of a block, as a notebook or a test does.

    Raises:
      ValueError: another method has its config type, procedure or a name in tables.
    """
    for known in _METHODS:
        if (
            known.config_type is method.config_type
            or known.procedure == method.procedure
            or set(known.variants) & set(method.variants)
        ):
            raise ValueError(f"{type(known).__name__} has that config type, procedure or name")
    _METHODS.append(method)
    try:
        yield method
    finally:
        _METHODS.remove(method)
