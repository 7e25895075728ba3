"""Check or write the ZCA test vector of a data set: `python -m paper_repro.core.preprocess`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paper_repro.core.cli import run
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.files import write_atomic
from paper_repro.core.preprocess.fitting import ZCA_REGULARISATION, fitted
from paper_repro.core.preprocess.vectors import check_vector, make_vector, read_vectors
from paper_repro.core.preprocess.zca import ZCA


def main(
    dataset: str = "cifar10",
    write: Path | None = None,
    fresh: bool = False,
    data_dir: str | None = None,
) -> None:
    """Verify the published ZCA test vector of a data set, or write it.

    Examples:
        python -m paper_repro.core.preprocess --dataset cifar10
        python -m paper_repro.core.preprocess --dataset cifar100 --data-dir my --write v.json

    Args:
      dataset: cifar10, or another one together with --write.
      write: put the vector into this JSON file instead, beside those of other data sets.
      fresh: fit again (a minute or two) instead of reading the cached fit.
      data_dir: a directory with <name>.npz files or Hub snapshots, asked first.
    """
    loaded = load_dataset(dataset, data_dir)
    shipped = read_vectors()
    if write is None and loaded.name not in shipped:
        raise UserError(
            f"no test vector of {loaded.title} is published (there is {', '.join(shipped)}): "
            "make one with --write PATH"
        )
    if fresh:
        transform = ZCA.fit(loaded.x_train, ZCA_REGULARISATION.get(loaded.name, 0.1))
    else:
        transform = fitted(loaded, "zca")
    found = make_vector(loaded, transform)
    if write is None:
        worst = check_vector(shipped[loaded.name], found)
        print(f"{loaded.title}: the ZCA test vector holds, largest difference {worst:.1e}")
        return
    kept = read_vectors(write) if write.exists() else {}
    write_atomic(write, _as_text({**kept, loaded.name: found}))
    print(f"{loaded.title}: test vector written to {write}")


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
