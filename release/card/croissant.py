"""The release described for MLCommons Croissant, twice, and the check of both.

mlcroissant takes the path of a file to be in the folder that it reads, and to be nowhere where it
reads from an address. So `croissant.json`, which is found by its address, has those of all files,
and `croissant-local.json` their paths.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paper_repro.core.errors import UserError
from release.card.citation import papers
from release.card.metadata import made_by, pretty_name, tags
from release.format import layout
from release.format.manifest import Manifest, ManifestFile
from release.format.publication import PAGES, Publication, require_address
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
    base: str = "",
) -> dict[str, Any]:
    """The JSON-LD object, Croissant 1.1.

    It counts as published on the day on which the newest set was begun, or on that of the
    environment variable SOURCE_DATE_EPOCH, so that two builds are the same.

    Args:
      records: the records of all sets, in the order of their names.
      files: the files of the release, by path.
      published: where the release goes, and under which license.
      base: the address below which the files are; "" for paths in the release folder.
    """
    names = [record["name"] for record in records]
    dates = [record["started"][:10] for record in records if record["started"]]
    titles = ", ".join(dict.fromkeys(record["title"] for record in records))
    made = " or ".join(method.summary for method in made_by(records))
    made = f": {made}" if made else ""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": published.repository.split("/")[-1],
        "description": f"Distilled sets of {titles}{made}, each with its fitted preprocessing.",
        "alternateName": pretty_name(records),
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "citeAs": "; ".join(paper.one_line for paper in papers(records)),
        "creator": {"@type": "Organization", "name": published.creator},
        **({"dateCreated": max(dates)} if dates else {}),
        **({"datePublished": day} if (day := _published(dates)) else {}),
        "keywords": tags(records),
        "license": published.license,
        "url": published.url,
        "version": published.version.removeprefix("v"),
        "distribution": [_file(name, files[layout.parquet(name)], base) for name in names],
        "recordSet": [_record_set(record) for record in records],
    }


def check_croissant(
    folder: Path, manifest: Manifest, records: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is wrong with the two files, one line each.

    Args:
      folder: the release.
      manifest: its manifest.
      records: the records of the sets that could be read, by name.
    """
    files = {entry.path: entry for entry in manifest.files}
    problems = []
    for path in (layout.CROISSANT, layout.CROISSANT_LOCAL):
        if path in files:
            problems += _check(folder / path, manifest, files, records)
    return problems


def _check(
    path: Path,
    manifest: Manifest,
    files: Mapping[str, ManifestFile],
    records: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        return [f"{path.name} is not JSON ({error})"]
    if problems := validate(path):
        return problems
    base = ""
    if path.name == layout.CROISSANT:
        base = _base(content, sorted(records))
        published = Publication(manifest.repository, version=manifest.version)
        if base.startswith(PAGES) and base != published.files_url:
            return [f"{path.name} names files below {base}, not below {published.files_url}"]
    expected = croissant([records[name] for name in sorted(records)], files, base=base)
    return [
        f"{path.name}: {part} does not describe the files and sets of this release"
        for part in ("distribution", "recordSet")
        if content.get(part) != expected[part]
    ]


def _base(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """The address below which a description has the file of the first set, as far as it is one."""
    with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError, UserError):
        url = content["distribution"][0]["contentUrl"]
        base = url.removesuffix(f"/{quote(layout.parquet(names[0]))}")
        require_address(base, "contentUrl")
        return base
    return "no address"


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


def _published(dates: Sequence[str]) -> str:
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        try:
            return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
        except (ValueError, OverflowError, OSError) as error:
            raise UserError(
                f"SOURCE_DATE_EPOCH={epoch} is not a number of seconds since 1970: correct it or "
                "unset it"
            ) from error
    return max(dates, default="")


def _file(name: str, entry: ManifestFile, base: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": f"{name}-parquet",
        "name": f"{name}-parquet",
        "contentUrl": f"{base}/{quote(entry.path)}" if base else entry.path,
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
