"""Checkpoints: named arrays in a safetensors file, written atomically and verified when read.

A run keeps its resumable state twice, the latest and the one before, so that a file damaged
after it was written costs the steps in between and nothing else. `Resume` is the one way in which
KIP, Label Solve and the training of networks go on where they were stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import atomic_path, sha256_of_content

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
    """Write atomically, with a digest over names, shapes, dtypes, bytes and metadata.

    The same content makes the same file, byte for byte.

    Raises:
      OSError: the directory cannot be written or the disk is full; `path` is then untouched.
    """
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    content = serialise(arrays, {**metadata, _DIGEST: sha256_of_content(metadata, arrays)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(_in_order(content))


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
    if metadata.pop(_DIGEST, None) != sha256_of_content(metadata, tensors):
        raise UserError(f"checkpoint {path} is damaged: its content does not match its digest")
    return Checkpoint(tensors, metadata)


SECONDS = 20.0
"""Time between two saved states of a run."""


def foreign(directory: Path) -> UserError:
    """The error that refuses the directory of another run."""
    return UserError(
        f"{directory} holds another run (other data, settings or seed, or an earlier version of "
        "this project): choose another --out, or delete that directory"
    )


class Resume:
    """The resumable state of one run in a directory of its own.

    The directory of another run is refused: nothing there is read or replaced.

    Args:
      directory: the place of the states; it need not exist.
      identity: a digest of everything that decides the run's bits.
      before: seconds that were spent on the run elsewhere, if it has no state here yet.

    Attributes:
      found: the latest whole state, None where the run has not started.

    Raises:
      UserError: the directory holds the states of another run, or damaged ones alone.

    Example:
      >>> resume = Resume(tmp_path, "run-1")
      >>> resume.found is None
      True
      >>> resume.save({"step": np.asarray(7)})
      >>> int(Resume(tmp_path, "run-1").found.tensors["step"])
      7
    """

    def __init__(self, directory: Path, identity: str, before: float = 0.0):
        self._rolling, self._identity = Rolling(directory), identity
        self.found = self._rolling.load()
        self._before = before
        self._started = self._saved = time.monotonic()
        if self.found is None:
            return
        if self.found.metadata.get("identity") != identity:
            raise foreign(directory)
        self._before = float(self.found.metadata.get("seconds", 0))

    @property
    def seconds(self) -> float:
        """Time spent by all sessions of the run together, without the time between them."""
        return self._before + time.monotonic() - self._started

    @property
    def is_due(self) -> bool:
        """Whether the last save is `SECONDS` ago."""
        return time.monotonic() - self._saved > SECONDS

    def save(self, tensors: Mapping[str, np.ndarray], **facts: str) -> None:
        """Make this the latest state; `facts` are kept in its metadata.

        Raises:
          OSError: the directory cannot be written; the states there stay as they are.
        """
        seconds = f"{self.seconds:.1f}"
        self._rolling.save(tensors, {"identity": self._identity, "seconds": seconds, **facts})
        self._saved = time.monotonic()


class Rolling:
    """The latest resumable state of a run, and the one before it, in `directory`."""

    def __init__(self, directory: Path):
        self.latest = directory / "state.safetensors"
        self.previous = directory / "state.previous.safetensors"
        self._staged = directory / "state.next.safetensors"

    def save(self, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        """Make this the latest state; what was the latest becomes the previous one."""
        save(self._staged, tensors, metadata)
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        os.replace(self._staged, self.latest)

    def load(self) -> Checkpoint | None:
        """The latest state that is whole; None where a run has not started.

        A damaged file is named in a warning and the one before it is used. A process killed
        between the two renames of `save` has left a whole file that has not got its name yet.

        Raises:
          UserError: files exist, and none of them is whole.
        """
        damaged = None
        for path in (self.latest, self._staged, self.previous):
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


def _in_order(content: bytes) -> bytes:
    """A safetensors file with the keys of its header sorted; the library leaves them to chance."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":"))
    header += " " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header.encode() + content[start:]
