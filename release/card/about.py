"""What the card says beyond its tables: complaints answered, limits, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core.methods import has_natural_images
from paper_repro.core.sets.record import is_given, is_reduced
from paper_repro.core.tables.cells import describe_spent
from release.card.metadata import hub_sources, made_by
from release.card.tables import table
from release.format import layout
from release.format.manifest import MANIFEST
from release.format.publication import Publication

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
)


def introduction(records: Sequence[Mapping[str, Any]], published: Publication) -> str:
    """What the sets are, who made them, and where this card belongs."""
    count = "1 distilled set" if len(records) == 1 else f"{len(records)} distilled sets"
    titles = ", ".join(title for title, _ in hub_sources(records))
    used = made_by(records)
    kinds = [method.summary for method in used] or ["a few images with labels"]
    papers = dict.fromkeys(number for method in used for number in method.papers)
    links = ", ".join(f"[arXiv {number}](https://arxiv.org/abs/{number})" for number in papers)
    sources = f"The methods are those of {links}. " if links else ""
    made = "Made" if not any(map(is_given, records)) else "Some were given as arrays, others made"
    if all(map(is_given, records)):
        made = "Given as arrays, checked and scored"
    return (
        f"{count} of {titles}, release {published.version}: {' or '.join(kinds)} "
        f"each, that stand in for a whole training set. {sources}{made} by {published.creator} "
        "with kip-repro, a reproduction of KIP and Label Solve, which learn through an infinitely "
        "wide network. This card belongs to the data set repository "
        f"`{published.repository}`; `{layout.GALLERY}` shows every set in a browser, offline."
    )


def local_copy() -> str:
    """How the examples read a folder instead of the Hub."""
    return (
        "To read a local copy of this folder instead, put its path where the repository's name "
        "stands and leave `revision` out; what `hf_hub_download` fetches below is a file in it."
    )


def answers(records: Sequence[Mapping[str, Any]]) -> str:
    """The complaints about other releases, and what this one does."""
    selection = (
        "Final step or lowest validation loss; the test set decided nothing and was scored at the "
        "checkpoint that had been selected."
    )
    if any(map(is_given, records)):
        selection += " How a set that was given as arrays was chosen is not known here."
    transform = ""
    if any(r["release"].get("origin") for r in records):
        transform = (
            " Of sets that were given as arrays it is what was stated or assumed, see above."
        )
    (whitened, shipped), *others = _ANSWERS
    complaint = "The maximum over test checkpoints is reported"
    return table(
        ["complaint", "here"], ((whitened, shipped + transform), *others, (complaint, selection))
    )


def limits(records: Sequence[Mapping[str, Any]], license_id: str) -> str:
    """What the sets are not good for, with what the records say about their budgets."""
    terms = f"what was added has the license `{license_id}`."
    if license_id == "other":
        terms = "no license was named for what was added: ask who made it."
    lines = [
        "One run of each set: the intervals above do not cover the choice of seed.",
        "A set is made for the kernel and preprocessing that it names; expect less of it with "
        "another architecture, and next to nothing with other preprocessing.",
        "Learned images can still resemble the training images they started from: what applies to "
        "the source data applies to them. Their terms of use are those of the data sets named "
        f"above; {terms}",
        "`image` is for looking at. It is rounded and clipped: do not train on it.",
    ]
    made = [r for r in records if not is_given(r)]
    reduced = [r for r in made if is_reduced(r)]
    refitted = {r["release"]["transform"] for r in records if r["release"]["refitted"]}
    remarks = {
        "The images are unchanged training images, their labels alone were learned": [
            r["name"] for r in records if has_natural_images(r)
        ],
        "Made with less than the papers' budget, below what they report": [
            f"{r['name']} ({_budget(r)})" for r in reduced
        ],
        "Given as arrays and scored here, not made by a run of this project": [
            r["name"] for r in records if is_given(r)
        ],
        "Fitted again on the same images when this release was built, equal to what the sets were "
        "made with up to rounding": sorted(refitted),
    }
    lines += [f"{remark}: {', '.join(names)}." for remark, names in remarks.items() if names]
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
            "budget": _budget(r),
            "revision": f"`{revision}`{' with changes' if git.get('dirty') else ''}"
            if revision
            else None,
            "made": r["started"],
            "seconds": r["seconds"],
            "hardware": _hardware(hardware),
            "data SHA-256": f"`{r['data_sha256']}`",
            "transform": f"`{r['release']['transform']}`",
            "transform SHA-256": f"`{r['release']['transform_sha256']}`",
        }
        rows = [(key, value) for key, value in facts.items() if value not in (None, "")]
        parts.append(f"### {r['name']}\n\n" + table(["what", "value"], rows))
    return "\n\n".join(parts)


def _budget(record: Mapping[str, Any]) -> str:
    return describe_spent([record["budget"]])


def _hardware(found: Mapping[str, Any]) -> str:
    cores = found.get("cores")
    told = cores and f"{cores} core{'s' if cores > 1 else ''}"
    return ", ".join(str(part) for part in (found.get("cpu"), told, found.get("gpu")) if part)
