"""`croissant.json`: the release described for MLCommons Croissant, and the check of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from release.card.citation import PAPERS
from release.card.metadata import PRETTY_NAME, tags
from release.format import layout
from release.format.manifest import ManifestFile
from release.format.publication import Publication
from release.format.rows import COLUMNS

_TYPES = {
    "image_whitened": "sc:Float",
    "image": "sc:ImageObject",
    "soft_label": "sc:Float",
    "label": "sc:Integer",
    "support_index": "sc:Integer",
}

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(
    records: Sequence[Mapping[str, Any]],
    files: Mapping[str, ManifestFile],
    published: Publication = Publication(),  # noqa: B008, frozen
) -> dict[str, Any]:
    """The JSON-LD object, Croissant 1.1; file addresses are relative to the release folder.

    Args:
      records: the records of all sets, in the order of their names.
      files: the files of the release, by path.
      published: where the release goes, and under which license.
    """
    names = [record["name"] for record in records]
    dates = [record["started"][:10] for record in records if record["started"]]
    titles = ", ".join(dict.fromkeys(record["title"] for record in records))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": published.repository.split("/")[-1],
        "description": f"Distilled sets of {titles}, learned by Kernel Inducing Points and Label "
        "Solve (arXiv 2107.13034), with the fitted preprocessing they need.",
        "alternateName": PRETTY_NAME,
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "citeAs": "; ".join(paper.one_line for paper in PAPERS),
        "creator": {"@type": "Organization", "name": published.creator},
        **({"dateCreated": max(dates)} if dates else {}),
        "keywords": tags(records),
        "license": published.license,
        "url": published.url,
        "version": published.version.removeprefix("v"),
        "distribution": [_file(name, files[layout.parquet(name)]) for name in names],
        "recordSet": [_record_set(record) for record in records],
    }


def check_croissant(
    folder: Path, files: Mapping[str, ManifestFile], records: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is wrong with croissant.json, one line each.

    Args:
      folder: the release.
      files: the files of the manifest, by path.
      records: the records of the sets that could be read, by name.
    """
    path = folder / layout.CROISSANT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        return [f"{layout.CROISSANT} is not JSON ({error})"]
    if problems := validate(path):
        return problems
    expected = croissant([records[name] for name in sorted(records)], files)
    return [
        f"{layout.CROISSANT}: {part} does not describe the files and sets of this release"
        for part in ("distribution", "recordSet")
        if content.get(part) != expected[part]
    ]


def validate(path: Path) -> list[str]:
    """What mlcroissant finds wrong with a file, one line each.

    Raises:
      UserError: mlcroissant is not installed.
    """
    try:
        import mlcroissant
    except ImportError as error:
        raise UserError(
            "checking croissant.json needs mlcroissant: pip install mlcroissant"
        ) from error
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        described = mlcroissant.Dataset(jsonld=path)
    except Exception as error:  # whatever broken JSON-LD makes the library raise
        return [f"{path.name}: {' '.join(str(error).split())[:500] or type(error).__name__}"]
    return [f"{path.name}: {warning}" for warning in described.metadata.issues.errors]


def _file(name: str, entry: ManifestFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": f"{name}-parquet",
        "name": f"{name}-parquet",
        "contentUrl": entry.path,
        "contentSize": f"{entry.size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": entry.sha256,
    }


def _record_set(record: Mapping[str, Any]) -> dict[str, Any]:
    name = record["name"]
    n = record["images_per_class"] * record["n_classes"]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{n} images distilled from {record['title']} by {record['method']}, "
        f"{record['architecture']} {record['kernel']}.",
        "key": {"@id": f"{name}/support_index"},
        "field": [_field(record, column) for column in COLUMNS],
    }


def _field(record: Mapping[str, Any], column: str) -> dict[str, Any]:
    name = record["name"]
    source: dict[str, Any] = {
        "fileObject": {"@id": f"{name}-parquet"},
        "extract": {"column": column},
    }
    field = {
        "@type": "cr:Field",
        "@id": f"{name}/{column}",
        "name": f"{name}/{column}",
        "description": COLUMNS[column],
        "dataType": _TYPES[column],
        "source": source,
    }
    if column == "image":
        source["transform"] = {"jsonPath": "bytes"}
    shapes = {
        "image_whitened": record["release"]["image_shape"],
        "soft_label": [record["n_classes"]],
    }
    if column in shapes:
        field |= {"isArray": True, "arrayShape": ",".join(map(str, shapes[column]))}
    return field
