"""All runs of a script as one Markdown table, a line a row of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core.data import registry
from paper_repro.core.tables.render.markdown import grid
from paper_repro.core.tables.render.text import NOTHING

Row = Mapping[str, Any]

TEXTS = ("Data set", "Method", "Setting", "Preset", "Hardware", "Revision", "Status")
"""Columns of words; the others hold numbers and stand to the right."""

_NO_SETTING = ("validation_accuracy",)


def render_runs(rows: Sequence[Row]) -> str:
    """The rows in the order they were written, whatever their status; at least one."""
    lines = [_columns(row) for row in rows]
    names = list(lines[0])
    texts = [list(line.values()) for line in lines]
    return grid(names, texts, [name not in TEXTS for name in names])


def _columns(row: Row) -> dict[str, str]:
    budget = row["budget"]
    return {
        "Data set": _title(row["dataset"]),
        "Images per class": str(row["images_per_class"]),
        "Method": row["method"],
        "Setting": setting(row),
        "Seed": str(row["seed"]),
        "Preset": row["preset"],
        "Steps": _number(budget.get("steps"), ",d"),
        "Target batch": _number(budget.get("target_batch"), ",d"),
        "Test accuracy, %": _number(_percent(row["test_accuracy"]), ".2f"),
        "Test MSE": _number(row["test_mse"], ".5f"),
        "Seconds": _number(row["seconds"], ",.0f"),
        "Peak MB": _number(row["peak_mb"], ",.0f"),
        "Hardware": hardware(row["hardware"]),
        "Revision": revision(row["git"]),
        "Status": f"{row['status']}: {row['reason']}" if row.get("reason") else row["status"],
    }


def setting(row: Row) -> str:
    """What was run beside the method: kernel or network, preprocessing, labels, augmentation."""
    if row["algorithm"] == "KRR":
        names = dict.fromkeys((row["architecture"], row["kernel"]))
        words = [" ".join(name for name in names if name)]
    else:
        words = [f"finite {row['architecture'] or 'network'}"]
        words += [f"width {row['width']:,}"] if "width" in row else []
    words += ["ZCA"] if row["zca"] else []
    words += ["learned labels" if row["learned_labels"] else "fixed labels"]
    words += ["augmented"] if row["augmentation"] else []
    chosen = row.get("chosen") or {}
    words += [
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else str(value)
        for name, value in chosen.items()
        if name not in _NO_SETTING and value is not None
    ]
    if (support := row["config"].get("support")) and support["step"] is not None:
        words.append(f"support of KIP step {support['step']:,}")
    network = row["config"].get("network", {})
    words += ["supports augmented"] if network.get("augmentation") else []
    words += ["learning rate bounded by the support too"] if network.get("stability") else []
    return ", ".join(words)


def hardware(found: Mapping[str, Any]) -> str:
    """Such as `2 cores, Intel Xeon, AVX-512` or `1 x NVIDIA A100`; `-` where none is recorded."""
    if found.get("gpu"):
        return str(found["gpu"])
    cpu = str(found.get("cpu") or "").replace("(R)", "").replace("(TM)", "")
    cpu = cpu.split(" @ ")[0].removesuffix("Processor").removesuffix("CPU").strip()
    n = found.get("cores")
    cores = f"{n} core{'s' if n > 1 else ''}" if n else ""
    return ", ".join(word for word in (cores, cpu, found.get("simd")) if word) or NOTHING


def revision(git: Mapping[str, Any] | None) -> str:
    """The first digits of the commit, a plus where tracked files differed from it."""
    if git is None:
        return NOTHING
    return git["revision"][:7] + ("+" if git["dirty"] else "")


def _title(dataset: str) -> str:
    official = registry.DATASETS.get(dataset)
    return dataset if official is None else official.title


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
