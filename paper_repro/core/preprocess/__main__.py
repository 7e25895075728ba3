"""The ZCA of a data set: check its test vector, write one, or write the fitted transform itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paper_repro.core.cli import run
from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.fitting import fitted, published_regularisation
from paper_repro.core.preprocess.storage import save as save_transform
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.preprocess.vectors import check_vector, make_vector, read_vectors
from paper_repro.core.preprocess.zca import ZCA
from paper_repro.core.store.files import require_file_place, write_atomic


def main(
    dataset: str = "cifar10",
    write: Path | None = None,
    save: Path | None = None,
    n_train: int | None = None,
    regularisation: float | None = None,
    fresh: bool = False,
    data_dir: str | None = None,
) -> None:
    """Verify the published ZCA test vector of a data set, write one, or write the fitted ZCA.

    Examples:
        python -m paper_repro.core.preprocess --dataset cifar10
        python -m paper_repro.core.preprocess --dataset cifar100 --data-dir my --write v.json
        python -m paper_repro.core.preprocess --n-train 45000 --save zca.safetensors

    Args:
      dataset: cifar10, or another one together with --write or --save.
      write: put the vector into this JSON file instead, beside those of other data sets.
      save: put the fitted ZCA into this safetensors file instead, for `evaluate --transform`.
      n_train: with --save, fit on the first so many training images; default all.
      regularisation: with --save, lambda; default the published one, 0.1 where there is none.
      fresh: fit again (a minute or two) instead of reading the cached fit.
      data_dir: a directory with <name>.npz files or Hub snapshots, asked first.
    """
    if save is None and (n_train is not None or regularisation is not None):
        raise UserError(
            "--n-train and --regularisation change the transform that --save writes: add --save "
            "FILE; the test vector is that of the published settings"
        )
    if save is not None and write is not None:
        raise UserError("give either --write or --save, not both")
    for path in (write, save):
        if path is not None:
            require_file_place(path)
    loaded = load_dataset(dataset, data_dir)
    if save is not None:
        transform = _fit(loaded, n_train, regularisation, fresh)
        save_transform(transform, save)
        used = len(loaded.x_train) if n_train is None else n_train
        print(
            f"{loaded.title}: ZCA of {used:,} training images, regularisation "
            f"{transform.regularisation:g}, in {save} (sha256 of the fit {digest(transform)})"
        )
        return
    shipped = read_vectors()
    if write is None and loaded.name not in shipped:
        raise UserError(
            f"no test vector is published for {loaded.title} (only for {', '.join(shipped)}): "
            "make one with --write PATH"
        )
    found = make_vector(loaded, _fit(loaded, None, None, fresh))
    if write is None:
        worst = check_vector(shipped[loaded.name], found)
        print(f"{loaded.title}: the ZCA test vector holds, largest difference {worst:.1e}")
        return
    kept = read_vectors(write) if write.exists() else {}
    write_atomic(write, _as_text({**kept, loaded.name: found}))
    print(f"{loaded.title}: test vector written to {write}")


def _fit(data: Dataset, n_train: int | None, regularisation: float | None, fresh: bool) -> ZCA:
    """The ZCA of the first `n_train` images; of all of them the cached one, unless `fresh`."""
    if n_train is not None and not 1 <= n_train <= len(data.x_train):
        raise UserError(
            f"n_train must be between 1 and {len(data.x_train):,}, the training images of "
            f"{data.title}, not {n_train}"
        )
    if n_train is None and not fresh:
        return fitted(data, "zca", regularisation)
    if regularisation is None:
        regularisation = published_regularisation(data)
    return ZCA.fit(data.x_train[:n_train], regularisation)


def _as_text(vectors: dict[str, dict[str, Any]]) -> str:
    """JSON with one key per line: lists of numbers stay readable."""
    sets = (
        f'"{name}": {{\n'
        + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in vector.items())
        + "\n}"
        for name, vector in vectors.items()
    )
    return "{\n" + ",\n".join(sets) + "\n}\n"


if __name__ == "__main__":
    run(main)
