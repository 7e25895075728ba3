"""Recipes in files: what somebody did to their images, in the words of the field.

A recipe is a JSON file. Every key but `name`, `source` and those of a whitening may be left out:

    {
      "name": "theirs",
      "source": "who says so: a paper, a repository and its file",
      "pixel_range": 1,
      "mean": [0.4914, 0.4822, 0.4465],
      "std": [0.2023, 0.1994, 0.2010],
      "unit_norm": false,
      "whitening": {"centred": true, "regularisation": 0.1, "relative": false, "unbiased": false}
    }

Pixels are divided so that they lie in 0 to `pixel_range` (1 or 255), standardised per channel with
`mean` and `std` (numbers on that scale, "fitted" for those of the training images, or left out for
none), brought to mean 0 and norm 1 image by image (`unit_norm`), and whitened by
`U (S + reg)^(-1/2) U^T` of their covariance: `centred` or not, `reg` absolute or `relative` to the
mean eigenvalue, divided by n or (`unbiased`) n - 1. Instead of the four keys, `whitening` may hold
`{"file": "map.npz", "axes": "CHW"}`: an npz beside the JSON with `mean` (d,) and `matrix` (d, d),
applied as `(x - mean) @ matrix` to images flattened in the order of `axes`, HWC or CHW.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.recipe import Constants, GivenMap, Recipe, Whitening

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""A release has a file of that name."""


def read_recipe(path: Path) -> Recipe:
    """The recipe in a JSON file, see the module.

    Raises:
      UserError: no such file, no JSON, an unknown key, or a value that is not of its kind; the
        key is named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no transform at {path}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no readable JSON file ({error})") from error
    fields = _Fields(path, content)
    name = fields.text("name")
    if not _NAME.fullmatch(name):
        raise UserError(f"{path}: the name {name!r} must be of a-z, 0-9, dashes and underscores")
    mean, std = fields.constants("mean"), fields.constants("std")
    if (isinstance(mean, tuple) or isinstance(std, tuple)) and "pixel_range" not in content:
        raise UserError(
            f'{path}: say whether mean and std are of pixels in 0..1 or 0..255: "pixel_range": 1 '
            "or 255"
        )
    pixel_range = fields.number("pixel_range", 255)
    if pixel_range not in (1, 255):
        raise UserError(f"{path}: pixel_range must be 1 or 255, not {pixel_range}")
    if isinstance(std, tuple) and min(std) <= 0:
        raise UserError(f"{path}: std must be positive, not {min(std)}")
    recipe = Recipe(
        name,
        fields.text("source"),
        pixel_range,
        mean,
        std,
        fields.flag("unit_norm", False),
        _whitening(path, fields.taken("whitening", None)),
    )
    fields.require_empty()
    return recipe


def _whitening(path: Path, content: Any) -> Whitening | GivenMap | None:
    if content is None:
        return None
    fields = _Fields(path, content, "whitening.")
    if isinstance(content, dict) and "file" in content:
        found = GivenMap(path.parent / fields.text("file"), fields.taken("axes", "HWC"))
        if found.axes not in ("HWC", "CHW"):
            raise UserError(f"{path}: whitening.axes must be HWC or CHW, not {found.axes!r}")
    else:
        found = Whitening(
            fields.flag("centred"),
            fields.number("regularisation"),
            fields.flag("relative"),
            fields.flag("unbiased", False),
        )
        if found.regularisation <= 0:
            raise UserError(f"{path}: whitening.regularisation must be positive")
    fields.require_empty()
    return found


class _Fields:
    """Takes the keys of a JSON object one by one and names the one that does not fit."""

    def __init__(self, path: Path, content: Any, prefix: str = ""):
        if not isinstance(content, dict):
            raise UserError(f"{path}: {prefix.rstrip('.') or 'the file'} must be a JSON object")
        self._path, self._left, self._prefix = path, dict(content), prefix

    def taken(self, key: str, *default: Any) -> Any:
        if key not in self._left and not default:
            raise UserError(f"{self._path} lacks {self._prefix}{key}")
        return self._left.pop(key, *default)

    def text(self, key: str) -> str:
        value = self.taken(key)
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise self._wrong(key, "a printable text", value)
        return value

    def flag(self, key: str, *default: bool) -> bool:
        value = self.taken(key, *default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def number(self, key: str, *default: float) -> float:
        value = self.taken(key, *default)
        if not _is_number(value):
            raise self._wrong(key, "a number", value)
        return float(value)

    def constants(self, key: str) -> Constants:
        value = self.taken(key, None)
        if value is None or value == "fitted":
            return value
        if not isinstance(value, list) or not value or not all(map(_is_number, value)):
            raise self._wrong(key, 'a list of numbers, one per channel, or "fitted"', value)
        return tuple(map(float, value))

    def _wrong(self, key: str, what: str, value: Any) -> UserError:
        return UserError(f"{self._path}: {self._prefix}{key} must be {what}, not {value!r}")

    def require_empty(self) -> None:
        if self._left:
            raise UserError(f"{self._path} has an unknown key {self._prefix}{min(self._left)}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
