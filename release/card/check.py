"""Checking the card: its YAML as the Hub and `datasets` read it, and that its snippets parse."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper_repro.core.data.network import library
from release.card import metadata
from release.format import layout
from release.format.publication import is_license
from release.format.rows import features

ANNOTATIONS_CREATORS = (
    *("crowdsourced", "found", "expert-generated", "machine-generated", "no-annotation", "other"),
)
SIZES = (*(bracket for _, bracket in metadata.SIZES), "1M<n<10M")


def check_card(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with README.md, one line each.

    Args:
      folder: the release.
      records: the records of the sets that could be read, by name.
    """
    hub = library("huggingface_hub.repocard")
    path = folder / layout.CARD
    try:
        card = hub.DatasetCard.load(path, ignore_metadata_errors=False)
        fields = card.data.to_dict()
        hub.DatasetCardData(**fields)
    except Exception as error:  # whatever broken YAML makes the library raise
        return [f"{layout.CARD}: the Hub cannot read its metadata ({_one_line(error)})"]
    problems = [
        f"{layout.CARD} lacks {field} in its metadata"
        for field in metadata.REQUIRED
        if not fields.get(field)
    ]
    if problems:
        return problems
    try:
        return _check_values(fields) + _check_sets(fields, records) + _check_code(card.content)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        return [f"{layout.CARD}: its metadata are malformed ({_one_line(error)})"]


def snippets(card: str) -> list[str]:
    """The Python blocks of a card."""
    return re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def _check_values(fields: Mapping[str, Any]) -> list[str]:
    allowed = {
        "annotations_creators": ANNOTATIONS_CREATORS,
        "size_categories": SIZES,
        "task_categories": metadata.TASK_CATEGORIES,
    }
    problems = []
    for field, choices in allowed.items():
        values = fields[field]
        if not isinstance(values, list) or any(value not in choices for value in values):
            problems.append(f"{layout.CARD}: {field} {values} is not of {', '.join(choices)}")
    if not is_license(fields["license"]):
        problems.append(f"{layout.CARD}: license {fields['license']!r} is not an identifier")
    if not all(isinstance(s, str) for s in fields["source_datasets"]):
        problems.append(f"{layout.CARD}: source_datasets must be texts")
    return problems


def _check_sets(fields: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    configs = {entry["config_name"]: entry for entry in fields["configs"]}
    infos = {entry["config_name"]: entry for entry in fields["dataset_info"]}
    problems = []
    for what, found in (("configs", configs), ("dataset_info", infos)):
        if len(found) != len(fields[what]) or set(found) != set(records):
            problems.append(f"{layout.CARD}: {what} names {sorted(found)}, not the sets")
    for name in sorted(records.keys() & configs.keys() & infos.keys()):
        record = records[name]
        if configs[name] != metadata.config(name):
            problems.append(f"{layout.CARD}: the configuration {name} does not read its rows")
        expected = features(record, tuple(record["release"]["image_shape"]))
        if library("datasets").Features._from_yaml_list(infos[name]["features"]) != expected:
            problems.append(f"{layout.CARD}: dataset_info of {name} has other features")
        n = record["n_classes"] * record["images_per_class"]
        if [split["num_examples"] for split in infos[name]["splits"]] != [n]:
            problems.append(f"{layout.CARD}: dataset_info of {name} does not count {n} rows")
    return problems


def _check_code(card: str) -> list[str]:
    problems = []
    for number, code in enumerate(snippets(card), 1):
        try:
            ast.parse(code)
        except SyntaxError as error:
            problems.append(f"{layout.CARD}: code block {number} does not parse ({error.msg})")
    return problems


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
