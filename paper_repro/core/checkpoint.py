"""Checkpoints: named arrays in a safetensors file, written atomically and verified when read.

A run keeps its resumable state twice, the latest and the one before, so that a file damaged
after it was written costs the steps in between and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from paper_repro.core.errors import UserError
from paper_repro.core.files import atomic_path

_DIGEST = "content_sha256"


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds.

    Attributes:
      tensors: arrays by name.
      metadata: strings by key, for instance the step and the hash of the run's configuration.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write atomically, with a digest over names, shapes, dtypes and bytes."""
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={**metadata, _DIGEST: _digest(arrays)})


def load(path: Path) -> Checkpoint:
    """Read and verify.

    Raises:
      UserError: the file is missing, truncated, not a checkpoint, or its content has changed.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError as error:
        raise UserError(f"no checkpoint at {path}") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} is truncated or damaged ({error})") from error
    if metadata.pop(_DIGEST, None) != _digest(tensors):
        raise UserError(f"checkpoint {path} is damaged: its content does not match its digest")
    return Checkpoint(tensors, metadata)


class Rolling:
    """The latest resumable state of a run, and the one before it, in `directory`."""

    def __init__(self, directory: Path):
        self.latest = directory / "state.safetensors"
        self.previous = directory / "state.previous.safetensors"

    def save(self, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        """Make this the latest state; what was the latest becomes the previous one."""
        staged = self.latest.with_name("state.next.safetensors")
        save(staged, tensors, metadata)
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        os.replace(staged, self.latest)

    def load(self) -> Checkpoint | None:
        """The latest state that is whole; None where a run has not started.

        A damaged file is named in a warning and the one before it is used.

        Raises:
          UserError: files exist, and none of them is whole.
        """
        damaged = None
        for path in (self.latest, self.previous):
            if not path.exists():
                continue
            try:
                return load(path)
            except UserError as error:
                damaged = error
                warnings.warn(f"{error}; falling back to the one before it", stacklevel=2)
        if damaged is not None:
            raise UserError(f"{damaged}, and there is none before it: delete the run's directory")
        return None


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}{tensor.shape}{tensor.dtype}\n".encode())
        total.update(tensor.tobytes())
    return total.hexdigest()
