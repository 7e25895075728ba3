"""`python -m release load` and `release.load`: a released set, checked, ready to use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from paper_repro.core.data.npz import write_npz
from paper_repro.core.errors import UserError
from paper_repro.core.machine.device import platform
from paper_repro.core.preprocess import Transform
from paper_repro.core.preprocess import load as load_transform
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import is_name
from paper_repro.core.sets.sources import Arrays, InMemory
from release.card.tables import RECOMMENDED, interval, percent
from release.format import layout
from release.format.arrays import from_release
from release.format.publication import REPOSITORY
from release.format.records import read_record
from release.format.rows import read_classes
from release.hub.source import Source, open_source

AS = ("numpy", "jax", "torch")
As = Literal["numpy", "jax", "torch"]


@dataclasses.dataclass(frozen=True, eq=False)
class DistilledSet(LearnedSet):
    """A released set: a learned set with what the release ships beside it.

    `images` (float32, preprocessed: exactly what the kernel consumes), `labels` (float32) and
    `classes` are NumPy arrays, or those of the library that `load` was asked for.

    Attributes:
      transform: `transform.apply(raw)` makes kernel inputs of raw uint8 test images (n, H, W, C);
        `preview` makes pictures of `images`.
      hyperparameters: settings for training a finite network on the set.
    """

    transform: Transform = dataclasses.field(kw_only=True)
    hyperparameters: Mapping[str, Any] = dataclasses.field(kw_only=True)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the K classes."""
        return tuple(self.record["class_names"])


def main(
    name: Annotated[str, tyro.conf.Positional],
    source: str = REPOSITORY,
    revision: str | None = None,
    npz: Path | None = None,
) -> None:
    """Load a released set, check it, and say what it is.

    A repository is read from the server that HF_ENDPOINT names, with the token of HF_TOKEN or of
    `hf auth login`, and from the cache where that cannot be reached.

    Examples:
        python -m release load cifar10-convnet-ipc1-zca-ls --source build/release
        python -m release load cifar10-convnet-ipc1-zca-ls --revision v1.0.0 --npz set.npz

    Args:
        name: the name of the set.
        source: a release folder, or a dataset repository on the Hub.
        revision: tag, branch or commit of the repository.
        npz: also save images, labels and classes there.
    """
    found = load(name, source, revision)
    metrics = found.record["metrics"]
    print(
        f"{name}: {len(found.images)} images {found.images.shape[1:]} of {found.record['title']}\n"
        f"made by        {found.record['method']}, {found.record['architecture']} "
        f"{found.record['kernel']}\n"
        f"preprocessing  {found.record['release']['transform']}\n"
        f"labels         {'learned' if found.record['learned_labels'] else 'one-hot minus 1/K'}\n"
        f"test accuracy  {percent(metrics['test_accuracy'])} % by KRR (95 % interval "
        f"{interval(found.record)}, {metrics['n_test']:,} images)"
    )
    if npz is not None:
        arrays = {"images": found.images, "labels": found.labels, "classes": found.classes}
        write_npz(npz, arrays)
        print(f"saved          {npz}")


def load(
    name: str,
    source: str | Path = REPOSITORY,
    revision: str | None = None,
    as_: As = "numpy",
) -> DistilledSet:
    """A released set from a folder or from the Hub, every file of it checked by SHA-256.

    Args:
      name: the name of the set.
      source: a release folder, or a dataset repository such as `owner/name`.
      revision: tag, branch or commit of the repository; the newest when None.
      as_: what the arrays become: numpy, jax or torch.

    Raises:
      UserError: no such set, a file that is missing or is not the manifest's, no network, or
        the array library is not installed.
    """
    if as_ not in AS:
        raise UserError(f"unknown array library {as_!r}: choose one of {', '.join(AS)}")
    if not is_name(name):
        raise UserError(f"{name!r} is not the name of a set")
    files = open_source(source, revision)
    manifest = files.manifest
    names = layout.names(entry.path for entry in manifest.files)
    if name not in names:
        raise UserError(f"no set {name!r} in {source}: there is {', '.join(names) or 'none'}")
    return _read(name, files, as_)


def _read(name: str, files: Source, as_: As) -> DistilledSet:
    folder = files.fetch([layout.record(name), layout.npz(name), layout.parquet(name)])
    record = read_record(folder, name)
    path = record["release"]["transform"]
    folder = files.fetch([path])
    learned = from_release(folder, record)
    transform = load_transform(folder / path)
    if digest(transform) != record["release"]["transform_sha256"]:
        raise UserError(f"{folder / path} is not the transform that {name} was released with")
    classes = read_classes(folder / layout.parquet(name), record)
    arrays = Arrays(*(_as(a, as_) for a in (learned.images, learned.labels, classes)))
    source = InMemory(arrays)
    return DistilledSet(
        name, record, source, transform=transform, hyperparameters=dict(RECOMMENDED)
    )


def _as(array: np.ndarray, as_: As) -> Any:
    if as_ == "jax":
        import jax.numpy as jnp

        platform()
        return jnp.asarray(array)
    if as_ == "torch":
        try:
            import torch
        except ImportError as error:
            raise UserError("as_='torch' needs PyTorch: pip install torch") from error
        return torch.from_numpy(array)
    return array
