"""What the card says beyond its tables: complaints answered, limits, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from release import layout
from release.card_tables import table
from release.manifest import MANIFEST
from release.records import kind_of

_ANSWERS = (
    (
        "The test set is not whitened, or with another ZCA",
        "The fitted transform is a file of this release; `release.load` returns it ready to "
        "apply to raw test images, and its test vector tells whether another implementation "
        "agrees.",
    ),
    (
        "No inverse transform",
        "The file holds what the inverse needs; the column `image` is its result, and the check "
        "of the release recomputes it.",
    ),
    (
        "Soft labels are dropped",
        "`soft_label` holds them as they were learned, next to the class of the slot.",
    ),
    (
        "Dead links",
        f"Everything is in this one repository under a version tag; `{MANIFEST}` has the SHA-256 "
        "of every file.",
    ),
    ("Unclear files", "One configuration per set; the table above says what each file is."),
    (
        "Hyperparameters of the evaluation are missing",
        "Kernel, ridge and preprocessing are in each record, those of finite networks above.",
    ),
    (
        "The maximum over test checkpoints is reported",
        "Final step or lowest validation loss; the test set decided nothing and was scored at the "
        "checkpoint that had been selected.",
    ),
)


def answers() -> str:
    """The complaints about other releases, and what this one does."""
    return table(["complaint", "here"], _ANSWERS)


def limits(records: Sequence[Mapping[str, Any]]) -> str:
    """What the sets are not good for, with what the records say about their budgets."""
    lines = [
        "One run of each set: the intervals above do not cover the choice of seed.",
        "A set is made for the kernel and preprocessing that it names; expect less of it with "
        "another architecture, and next to nothing with other preprocessing.",
        "Learned images are no photographs, and they can still resemble the training images they "
        "started from: what applies to the source data applies to them. Their terms of use are "
        "those of the data sets named above; the license of this repository covers what was added.",
        "`image` is for looking at. It is rounded and clipped: do not train on it.",
    ]
    reduced = [r["name"] for r in records if r["budget"].get("reduced")]
    if reduced:
        names = ", ".join(f"`{name}`" for name in reduced)
        lines.append(f"Made with less than the papers' budget: {names}.")
    given = [r["name"] for r in records if r["preset"] is None]
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        lines.append(
            f"Given as arrays and scored here, not made by a run of this project: {names}."
        )
    refitted = sorted({r["release"]["transform"] for r in records if r["release"]["refitted"]})
    if refitted:
        names = ", ".join(f"`{path}`" for path in refitted)
        lines.append(
            "Fitted again on the same images when this release was built, equal to what the sets "
            f"were made with up to rounding: {names}."
        )
    return "\n".join(f"- {line}" for line in lines)


def provenance(records: Sequence[Mapping[str, Any]]) -> str:
    """How each set was made; `records/` has the rest."""
    parts = []
    for r in records:
        git = r["git"] or {}
        hardware = r["hardware"] or {}
        revision = str(git.get("revision", ""))
        facts = {
            "command": f"`{r['command']}`",
            "seed": r["seed"],
            "preset": r["preset"],
            "budget": ", ".join(f"{k} {v}" for k, v in sorted(r["budget"].items())),
            "revision": f"`{revision}`{' with changes' if git.get('dirty') else ''}"
            if revision
            else None,
            "made": r["started"],
            "seconds": r["seconds"],
            "hardware": ", ".join(
                str(hardware[key]) for key in ("cpu", "cores", "gpu") if hardware.get(key)
            ),
            "data SHA-256": f"`{r['data_sha256']}`",
            "transform": f"`{layout.transform(r['dataset'], kind_of(r))}`",
            "transform SHA-256": f"`{r['release']['transform_sha256']}`",
        }
        rows = [(key, value) for key, value in facts.items() if value not in (None, "")]
        parts.append(f"### {r['name']}\n\n" + table(["what", "value"], rows))
    return "\n\n".join(parts)
