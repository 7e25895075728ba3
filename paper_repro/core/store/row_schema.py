"""What a result row has to hold, and the hash that says which rows repeat one configuration."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRESETS = ("smoke", "laptop", "gpu", "paper")  # in order of budget
STATUSES = ("done", "failed", "interrupted")
ALGORITHMS = ("KRR", "NN")
NOT_HASHED = ("table", "seed")


@dataclass(frozen=True)
class Field:
    """One required field of a row: its JSON types, whether null is allowed, and its range."""

    types: tuple[type, ...]
    nullable: bool = False
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def problem(self, value: Any) -> str | None:
        """Why `value` does not fit, or None."""
        if value is None:
            return None if self.nullable else "is null"
        if not isinstance(value, self.types) or (
            isinstance(value, bool) and bool not in self.types
        ):
            return f"is {value!r}, not {' or '.join(t.__name__ for t in self.types)}"
        if self.choices and value not in self.choices:
            return f"is {value!r}, not one of {', '.join(self.choices)}"
        if isinstance(value, float | int) and not isinstance(value, bool):
            if not self.low <= value <= self.high or math.isinf(value):
                return f"is {value!r}, outside [{self.low:g}, {self.high:g}]"
        return None


_TEXT = Field((str,))
_OPTIONAL_TEXT = Field((str,), nullable=True)
_FLAG = Field((bool,))
_COUNT = Field((int,), low=0)
_OBJECT = Field((dict,))

ROW_FIELDS: dict[str, Field] = {
    "table": _TEXT,
    "dataset": _TEXT,
    "images_per_class": Field((int,), low=1),
    "method": _TEXT,
    "algorithm": Field((str,), choices=ALGORITHMS),
    "architecture": _OPTIONAL_TEXT,
    "kernel": _OPTIONAL_TEXT,
    "zca": _FLAG,
    "learned_labels": _FLAG,
    "augmentation": _FLAG,
    "preset": Field((str,), choices=PRESETS),
    "seed": _COUNT,
    "step": Field((int,), nullable=True, low=0),
    "test_accuracy": Field((float, int), nullable=True, low=0.0, high=1.0),
    "test_mse": Field((float, int), nullable=True, low=0.0),
    "n_test": Field((int,), nullable=True, low=1),
    "status": Field((str,), choices=STATUSES),
    "seconds": Field((float, int), nullable=True, low=0.0),
    "peak_mb": Field((float, int), nullable=True, low=0.0),
    "budget": _OBJECT,
    "config": _OBJECT,
    "config_hash": _TEXT,
    "versions": _OBJECT,
    "hardware": _OBJECT,
    "git": Field((dict,), nullable=True),
    "data_sha256": Field((str, dict), nullable=True),
    "transform_sha256": _OPTIONAL_TEXT,
    "started": _TEXT,
}
"""Every field of a row; more keys (width, support_size, validation_accuracy, ...) are welcome.

`test_accuracy` is a fraction of `n_test` images, `test_mse` has the 0.5 factor, `seconds` are the
run's own (all sessions together where the method or the networks keep states, else of the last
one), `peak_mb` (MiB) is the
process's up to its end, with the runs before it in the same command, `budget` what was spent
(steps, target_batch, n_train, ...), `started` an ISO 8601 time with its zone. `step` is that of the
method that made the set and null for methods without steps (older rows of networks that trained on
a set of the same run have the network's steps), as is `transform_sha256` without a fitted
transform.
"""


def problem_with(row: Any) -> str | None:
    """Why `row` is not a result row, as a short phrase; None when it is one."""
    if not isinstance(row, Mapping):
        return "it is not a JSON object"
    missing = [name for name in ROW_FIELDS if name not in row]
    if missing:
        return f"it lacks {', '.join(missing)}"
    for name, field in ROW_FIELDS.items():
        reason = field.problem(row[name])
        if reason:
            return f"{name} {reason}"
    if row["status"] == "done":
        for name in ("test_accuracy", "n_test"):
            if row[name] is None:
                return f"its status is done but {name} is null"
    if row["config_hash"] != config_hash(row["config"]):
        return "config_hash is not the hash of config"
    return None


def without_later(fields: Mapping[str, Any], **later: Any) -> dict[str, Any]:
    """`fields` without those that came later and have the value that means what was before.

    So the identity of a run that was started before they existed stays, and the run goes on.

    Args:
      fields: name -> value.
      later: name -> the value that changes nothing.

    Example:
      >>> without_later({"steps": 3, "decay": None}, decay=None)
      {'steps': 3}
    """
    return {k: v for k, v in fields.items() if k not in later or v != later[k]}


def config_hash(config: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of `config` as canonical JSON.

    Left out are the top-level keys `table` and `seed`, so that tables share cells and seeds share
    a hash. Key order, tuple against list, NumPy scalars and 1 against 1.0 make no difference.
    Nothing that does not change the numbers (paths, devices, verbosity) belongs in `config`.

    Raises:
      TypeError: a value has no JSON form.
      ValueError: a value is not finite.
    """
    hashed = {k: v for k, v in config.items() if k not in NOT_HASHED}
    text = json.dumps(
        _canonical(hashed), sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """`json.dumps(default=...)` for NumPy scalars; refuses everything else by name."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} does not belong in a result row")


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if not isinstance(value, str | int | float | None):
        value = plain(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
