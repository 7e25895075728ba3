"""Tables of the card, from records, settings and the layout of the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paper_repro.core.preprocess import Transform
from paper_repro.core.tables.statistics import binomial_interval
from release.format import layout
from release.format.manifest import MANIFEST
from release.format.records import ASSUMED, preprocessing_of

RECOMMENDED: dict[str, Any] = {
    "network": "ConvNet, width 1,024, standard parameterisation, W_std sqrt(2), b_std 0.1",
    "loss": "mean squared error on the soft labels (centred, as shipped)",
    "optimizer": "SGD",
    "momentum": 0.9,
    "learning_rate": "factor x 2 N K / lambda_max(Theta)",
    "learning_rate_factor": 1.0,
    "schedule": "cosine decay to 0",
    "l2": 1e-3,
    "batch": 100,
    "steps": 5_000,
    "augmentation": "none",
}
"""How to train a finite network on a released set: the settings of the official transfer notebook
of arXiv 2107.13034, which the card prints and `load` returns. Theta is the empirical NTK of
sum_k f_k / sqrt(K) on N = 50 validation images at initialisation; l2 is the factor of
0.5 * |theta|^2."""


SMALL_WIDTH: dict[str, Any] = {
    "network": "ConvNet, NTK parameterisation: weights drawn from N(0, 1), times W_std / "
    "sqrt(fan_in) in the forward pass",
    "width": 128,
    "label_scale": 16.0,
    "loss": "mean squared error on the labels times the label scale; predictions are divided by it",
    "optimizer": "Adam",
    "learning_rate": 0.02,
    "schedule": "cosine decay to 0",
    "l2": 0.0,
    "batch": 100,
    "steps": 200,
    "augmentation": "every RGB image is mirrored with probability 1/2 at every step",
}
"""The same at a width that two CPU cores train in minutes, by validation images (docs/results.md of
the repository)."""


@dataclasses.dataclass(frozen=True)
class TransformFacts:
    """What the card says of a transform without holding its eigenvectors.

    Attributes:
      settings: its kind and scalars, as strings.
      mean: per channel, of raw pixels.
      std: per channel.
    """

    settings: Mapping[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, transform: Transform) -> TransformFacts:
        """The facts of a fitted transform."""
        mean, std = transform.tensors["mean"], transform.tensors["std"]
        return cls(dict(transform.settings), tuple(mean.tolist()), tuple(std.tolist()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def percent(fraction: float) -> str:
    """A fraction in percent, with two decimals."""
    return f"{100 * fraction:.2f}"


def interval(record: Mapping[str, Any]) -> str:
    """95 % binomial (Wilson) interval of a record's accuracy, in percent."""
    metrics = record["metrics"]
    low, high = binomial_interval(metrics["test_accuracy"], metrics["n_test"])
    return f"{percent(low)} to {percent(high)}"


def results_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy of each set by KRR with its interval, and how it was made."""
    rows = [
        [
            f"`{r['name']}`",
            r["title"],
            r["images_per_class"] * r["n_classes"],
            r["method"],
            preprocessing_of(r),
            "learned" if r["learned_labels"] else "fixed",
            f"{r['architecture']} {r['kernel']}",
            "-" if r["step"] is None else f"{r['step']:,}",
            percent(r["metrics"]["test_accuracy"]),
            interval(r),
            f"{r['metrics']['n_test']:,}",
            f"{r['metrics']['test_mse']:.5f}",
        ]
        for r in records
    ]
    head = [
        *("set", "data", "images", "method", "preprocessing", "labels", "kernel", "step"),
        *("KRR test accuracy, %", "95 % interval", "test images", "test MSE"),
    ]
    names = {r["method"] for r in records}
    variants = "`(l)`: the labels were learned too; `(a)`: the targets were augmented. "
    told = variants if names & {"KIP (l)", "KIP (a)", "KIP (a + l)"} else ""
    return (
        table(head, rows)
        + f"\n\n{told}One run each. The interval is binomial (Wilson), for the finite "
        "test set alone; it does not cover the spread over seeds. MSE is 0.5 x the mean over "
        "images and classes of the squared error against one-hot minus 1/K. No checkpoint of a "
        "run of this project was chosen on the test set."
    )


def layout_table() -> str:
    """The files of the release."""
    name, dataset = "<set>", "<data set>"
    rows = [
        (f"`{layout.parquet(name)}`", "the rows that `datasets` loads"),
        (f"`{layout.npz(name)}`", "`images` and `labels`, float32, as in the authors' release"),
        (f"`{layout.record(name)}`", "what it is, its score, how it was made"),
        (
            f"`{layout.transform(dataset, '<preprocessing>')}`",
            "fitted preprocessing with its inverse and test vector, safetensors",
        ),
        (f"`{layout.images_picture(name)}`", "its images; beside them its labels"),
        (f"`{MANIFEST}`", "SHA-256 of every file"),
        (f"`{layout.CROISSANT}`", "machine-readable description, MLCommons Croissant"),
        (f"`{layout.GALLERY}`", "all sets in a browser"),
    ]
    return "Nothing is pickled.\n\n" + table(["file", "what"], rows)


def transform_table(facts: Mapping[str, TransformFacts]) -> str:
    """The fitted values of every transform."""
    rows = [
        [
            f"`{path}`",
            facts[path].settings.get("regularisation", "-"),
            _numbers(facts[path].mean),
            _numbers(facts[path].std),
            _number(facts[path].settings.get("mean_norm")),
        ]
        for path in sorted(facts)
    ]
    return table(["file", "lambda", "mean", "std", "mean norm"], rows)


def transform_origins(
    records: Sequence[Mapping[str, Any]], facts: Mapping[str, TransformFacts]
) -> str:
    """What is known of the transforms of sets that were given as arrays; empty without such sets.

    Args:
      records: the records of all sets.
      facts: the facts of every transform, by its path.
    """
    lines = []
    for path in sorted(facts):
        for origin in sorted({o for r in records if (o := _origin(r, path)) is not None}):
            names = ", ".join(r["name"] for r in records if _origin(r, path) == origin)
            source = facts[path].settings.get("source")
            whose = f" It is described in: {source}." if source else ""
            if origin == ASSUMED:
                known = (
                    "assumed: whoever gave the set did not say what its images went through, and "
                    "this is the usual preprocessing of such images. The score above is the only "
                    "evidence for it."
                )
            else:
                known = (
                    "as stated by whoever gave the set; only the score above speaks for it, it was "
                    f"not compared with the maker's own code.{whose}"
                )
            lines.append(f"- `{path}`, for {names}: {known}")
    return "\n".join(lines)


def _origin(record: Mapping[str, Any], path: str) -> str | None:
    about = record["release"]
    return about.get("origin") if about["transform"] == path else None


def hyperparameter_table() -> str:
    """What to train a finite network with."""
    rows = [(key.replace("_", " "), _plain(value)) for key, value in RECOMMENDED.items()]
    return (
        "Hyperparameters of the official transfer experiment; choose the learning rate factor and "
        "l2 on held-out training images, never on the test set. Theta is the empirical NTK of "
        "`sum_k f_k / sqrt(K)` on N = 50 of these images, K the number of classes; l2 multiplies "
        "`0.5 |theta|^2`.\n\n" + table(["what", "value"], rows) + "\n\n" + _small_widths()
    )


def _small_widths() -> str:
    """The recipe for widths below the paper's."""
    rows = [(key.replace("_", " "), _plain(value)) for key, value in SMALL_WIDTH.items()]
    return (
        "At widths that two CPU cores train in minutes, the following did best here, tried on a "
        "set of 100 CIFAR-10 images with fixed labels "
        "(`python -m paper_repro.table2_transfer --optimizer adam`). Learned labels "
        "are made for the kernel, and small networks learn little from them.\n\n"
        + table(["what", "value"], rows)
    )


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _plain(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(text: str | None) -> str:
    return "-" if text is None else f"{float(text):.6g}"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
