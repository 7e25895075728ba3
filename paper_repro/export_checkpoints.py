"""Export the learned sets of finished runs into `checkpoints/`, with records and pictures.

    python -m paper_repro.export_checkpoints --results runs

For every cell of a method that learns, with a finished row whose run directory is at hand: the
selected support of one seed, the series of official steps (where the set is small), `record.json`
and pictures. A set is replaced only by one of the same or of a larger budget; sets whose runs are
not at hand stay.
"""

from __future__ import annotations

from pathlib import Path

from paper_repro.core import cli
from paper_repro.core.runs.export import export


def main(
    results: Path = Path("runs"),
    out: Path = Path("checkpoints"),
    seed: int = 0,
    series_limit: int = 100,
    data_dir: Path | None = None,
) -> None:
    """Export the learned sets of finished runs into a checkpoints directory.

    Examples:
        python -m paper_repro.export_checkpoints
        python -m paper_repro.export_checkpoints --results runs --out my_checkpoints

    Args:
        results: directory of result rows with their run directories in `runs/`.
        out: the checkpoints directory; created where it is missing.
        seed: the seed whose supports are exported.
        series_limit: keep the supports of earlier official steps up to this many images a set.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    written = export(results, out, (seed,), series_limit, data_dir)
    if not written:
        print(f"{results / 'runs'} holds no run that would replace or add a set of {out}")
    for learned in written:
        metrics = learned.record["metrics"]
        print(
            f"{learned.name}: step {learned.record['step']}, test accuracy "
            f"{100 * metrics['test_accuracy']:.2f} %, {len(learned.steps)} earlier steps"
        )


if __name__ == "__main__":
    cli.run(main)
