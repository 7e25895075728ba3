"""The dataset card: YAML and body, generated from the records; no number in it is typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from release.card import metadata, snippets
from release.card.about import answers, introduction, limits, local_copy, provenance
from release.card.citation import bibtex
from release.card.tables import (
    TransformFacts,
    hyperparameter_table,
    layout_table,
    results_table,
    transform_origins,
    transform_table,
)
from release.format import layout
from release.format.publication import Publication
from release.format.rows import COLUMNS


def card(
    records: Sequence[Mapping[str, Any]],
    facts: Mapping[str, TransformFacts],
    row_bytes: Mapping[str, int],
    file_bytes: Mapping[str, int],
    published: Publication,
) -> str:
    """The text of README.md.

    Args:
      records: the records of all sets, in the order of their names.
      facts: the facts of every transform, by its path in the release.
      row_bytes: size of the rows of each set in memory, by name.
      file_bytes: size of the Parquet file of each set, by name.
      published: where, by whom, as which version, under which license.
    """
    fields = metadata.card_fields(records, row_bytes, file_bytes, published.license)
    sections = _sections(records, facts, published)
    return metadata.to_yaml(fields) + "\n" + "\n\n".join(sections) + "\n"


def example(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The set that the snippets use: whitened if one is, small, then accurate."""
    return min(
        records,
        key=lambda r: (
            not r["zca"],
            r["images_per_class"] * r["n_classes"],
            -r["metrics"]["test_accuracy"],
            r["name"],
        ),
    )


def _sections(
    records: Sequence[Mapping[str, Any]],
    facts: Mapping[str, TransformFacts],
    published: Publication,
) -> list[str]:
    shown = example(records)
    columns = "\n".join(f"- `{name}`: {text}" for name, text in COLUMNS.items())
    settings = facts[shown["release"]["transform"]].settings
    origins = transform_origins(records, facts)
    own = "must go through the transform" if origins else "must go through the very transform"
    return [
        f"# {metadata.pretty_name(records)}",
        introduction(records, published),
        "## Results",
        results_table(records),
        "## Load a set",
        f"One configuration per set, one split, `train`, with the columns\n\n{columns}",
        _python(snippets.load_snippet(shown, published)),
        local_copy(),
        layout_table(),
        "## The exact transform",
        f"Test images {own} that the distilled images went through. It "
        "is shipped, fitted, with its inverse and a test vector; never fit it again on other "
        "images or per batch.",
        "- *standard*: `(x - mean) / std` per channel, mean and standard deviation over all "
        "training images, of raw pixels 0..255."
        + (_ZCA if any(f.settings["kind"] == "zca" for f in facts.values()) else ""),
        *([_AFFINE] if any(f.settings["kind"] == "affine" for f in facts.values()) else []),
        transform_table(facts),
        *([origins] if origins else []),
        "Without this project's code:",
        _python(snippets.transform_snippet(shown, settings, published)),
        "## Labels",
        "`soft_label` is on the scale of *one-hot minus 1/K*: a fixed label is 1 - 1/K at its "
        "class and -1/K elsewhere and sums to 0. Learned labels started there (KIP) or are the "
        f"least squares solution for the images (LS), and are free{_of_ld(records)}; use them as "
        "they are or all times one number, with a squared loss, and do not take the argmax of "
        "them. `label` is the class of the slot, which a learned label need not point to.",
        "## Score a set by kernel ridge regression",
        "`K_ts (K_ss + diag_reg * tr(K_ss) / n I)^-1 y_s`, solved in float64. The accuracies above "
        "are on as many test images as their column says; this snippet predicts about "
        f"{snippets.N_TEST:,}, spread evenly over them. `release` and `paper_repro` are this "
        "project's packages: run `pip install .` in its source tree first.",
        _python(snippets.krr_snippet(shown, published)),
        "## Train a finite network on a set",
        hyperparameter_table(),
        "## What released distilled sets have been criticised for",
        answers(records),
        "## Limits",
        limits(records, published.license),
        "## Provenance",
        provenance(records),
        "## Citation",
        f"Please cite the papers; `{layout.CITATION}` has the software too.",
        bibtex(records),
    ]


_ZCA = (
    "\n- *zca*: after *standard*, every image is flattened to `x`, centred by its own mean and "
    "divided by its own L2 norm. With `C = X^T X / n = U S U^T` over all training images "
    "(uncentred) and `reg = lambda * tr(C) / d`, the output is `x W` with "
    "`W = U (S + reg)^(-1/2) U^T`, in float64, then float32.\n"
    "- *inverse*: `x U (S + reg)^(1/2) U^T` gives back the layer-normalised image; its own "
    "mean and norm are lost. The column `image` rescales by the training set's mean norm, "
    "undoes the channel standardisation, rounds and clips."
)

_AFFINE = (
    "- *another project's*: after the channel standardisation, and where the file says "
    "`unit_norm` the mean and norm of every image, `(x - centre) matrix` of the flattened image if "
    "the file holds these two."
)


def _of_ld(records: Sequence[Mapping[str, Any]]) -> str:
    made = {method.title for method in metadata.made_by(records)}
    return " (those of LD are probabilities minus 1/K)" if "LD" in made else ""


def _python(code: str) -> str:
    return f"```python\n{code.rstrip()}\n```"
