"""Fetch data sets ahead of time: `python -m paper_repro.core.data cifar10 mnist`."""

from __future__ import annotations

from typing import Annotated

import tyro

from paper_repro.core.cli import run
from paper_repro.core.data import dataset_names, load_dataset
from paper_repro.core.errors import UserError


def main(
    names: Annotated[tuple[str, ...], tyro.conf.Positional],
    data_dir: str | None = None,
) -> None:
    """Fetch data sets into the cache and print where they came from, their shapes and digests.

    Examples:
        python -m paper_repro.core.data mnist cifar10
        python -m paper_repro.core.data cifar100 --data-dir my_data

    Args:
      names: mnist, fashion_mnist, svhn, cifar10, cifar100, or <name>.npz in the data directory.
      data_dir: a directory with <name>.npz files or Hub snapshots, asked first.
    """
    if not names:
        raise UserError(f"name at least one data set: {', '.join(dataset_names(data_dir))}")
    for name in names:
        dataset = load_dataset(name, data_dir)
        print(f"{dataset.title}: {dataset.source}")
        for key, digest in dataset.array_sha256.items():
            print(f"  {key:8} {getattr(dataset, key).shape!s:20} sha256 {digest}")
        print(f"  data_sha256 {dataset.data_sha256}")


if __name__ == "__main__":
    run(main)
