"""The YAML at the head of the card: what the Hub reads, and what `datasets` loads by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper_repro.core import methods
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.methods.method import Method
from release.format import layout
from release.format.rows import features

TASK_CATEGORIES = ("image-classification",)
ANNOTATIONS_CREATORS = ("machine-generated",)
TAGS = ("dataset-distillation", "dataset-condensation")
REQUIRED = (
    "license",
    "task_categories",
    "size_categories",
    "source_datasets",
    "annotations_creators",
    "pretty_name",
    "configs",
    "dataset_info",
)
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_fields(
    records: Sequence[Mapping[str, Any]],
    row_bytes: Mapping[str, int],
    file_bytes: Mapping[str, int],
    license_id: str,
) -> dict[str, Any]:
    """The fields of the card's YAML, in their order.

    Args:
      records: the records of all sets, in the order of their names.
      row_bytes: size of the rows of each set in memory, by name.
      file_bytes: size of the Parquet file of each set, by name.
      license_id: identifier of the Hub.
    """
    return {
        "license": license_id,
        "pretty_name": pretty_name(records),
        "task_categories": list(TASK_CATEGORIES),
        "size_categories": [size_category(records)],
        "source_datasets": source_datasets(records),
        "annotations_creators": list(ANNOTATIONS_CREATORS),
        "tags": tags(records),
        "configs": [config(record["name"]) for record in records],
        "dataset_info": [
            _info(record, row_bytes[record["name"]], file_bytes[record["name"]])
            for record in records
        ],
    }


def tags(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tags of the Hub, keywords of Croissant."""
    tangent = any(r["kernel"] == "NTK" for r in records)
    whitened = any(r["zca"] for r in records)
    used = [method.title.lower() for method in made_by(records) if method.learns_images]
    return [*TAGS, *used, *["neural-tangent-kernel"] * tangent, *["zca"] * whitened]


def made_by(records: Sequence[Mapping[str, Any]]) -> list[Method]:
    """The methods that made the sets; of sets from elsewhere, those that they name and we know."""
    names = {record["method"] for record in records}
    return [method for method in methods.methods() if names & set(method.variants)]


def pretty_name(records: Sequence[Mapping[str, Any]]) -> str:
    """The title of the release: `Distilled data sets: KIP, LS`."""
    titles = ", ".join(method.title for method in made_by(records))
    return f"Distilled data sets: {titles}" if titles else "Distilled data sets"


def config(name: str) -> dict[str, Any]:
    """The entry of `configs` that says where a configuration's rows are."""
    files = [{"split": "train", "path": layout.parquet(name)}]
    return {"config_name": name, "data_files": files}


def size_category(records: Sequence[Mapping[str, Any]]) -> str:
    """The Hub's size bracket of all rows together."""
    n = sum(record["images_per_class"] * record["n_classes"] for record in records)
    return next((bracket for limit, bracket in SIZES if n < limit), "1M<n<10M")


def source_datasets(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the images stand for, as the Hub writes it."""
    return [f"extended|{repo}" for _, repo in hub_sources(records)]


def hub_sources(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Title and Hub repository (or `other-<name>`) of each data set, in order of its name."""
    found = {record["dataset"]: record["title"] for record in records}
    return [
        (found[name], DATASETS[name].hub.repo if name in DATASETS else f"other-{name}")
        for name in sorted(found)
    ]


def to_yaml(fields: Mapping[str, Any]) -> str:
    """The fields as YAML between two lines of dashes."""
    import yaml

    text = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---\n"


def _info(record: Mapping[str, Any], row_bytes: int, file_bytes: int) -> dict[str, Any]:
    n = record["images_per_class"] * record["n_classes"]
    described = features(record, tuple(record["release"]["image_shape"]))
    return {
        "config_name": record["name"],
        "features": described._to_yaml_list(),
        "splits": [{"name": "train", "num_bytes": row_bytes, "num_examples": n}],
        "download_size": file_bytes,
        "dataset_size": row_bytes,
    }
