"""Checking one set of a release: arrays, transform, preview, and what `datasets` loads."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.data.network import library
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import Transform
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.learned_set import LearnedSet
from release.format import layout
from release.format.arrays import from_release
from release.format.rows import features, pixels

PREVIEW_TOLERANCE = 1
"""Largest difference of a preview's pixel, of 255: another machine may round a half otherwise."""

CENTRED = 1e-5
"""How far a fixed float32 label may be from summing to 0 (K roundings of 1/K)."""


def check_set(
    folder: Path,
    record: Mapping[str, Any],
    transform: Transform | None,
    loadable: bool = True,
) -> list[str]:
    """What is wrong with one set, one line each.

    Args:
      folder: the release.
      record: the set's record, checked.
      transform: the shipped one; None where it could not be read, which is listed elsewhere.
      loadable: the card is right, so `datasets` opens the files of this set and no others.
    """
    name = record["name"]
    try:
        learned = from_release(folder, record)
    except UserError as error:
        return [str(error)]
    problems = []
    if list(learned.images.shape[1:]) != record["release"]["image_shape"]:
        problems.append(f"{name}: images {learned.images.shape[1:]} are not of the record's shape")
    if not record["learned_labels"]:
        off = np.abs(learned.labels.sum(1, dtype=np.float64)).max()
        if off > CENTRED:
            problems.append(f"{name}: fixed labels do not sum to 0 but to {off:.1e}")
    preview = None
    if transform is not None:
        if digest(transform) != record["release"]["transform_sha256"]:
            problems.append(f"{name}: the shipped transform is not the one its record names")
        if tuple(transform.image_shape) != learned.images.shape[1:]:
            problems.append(f"{name}: the shipped transform takes {transform.image_shape} images")
        else:
            preview = transform.preview(learned.images)
    return problems + (_check_rows(folder, learned, preview) if loadable else [])


def _check_rows(folder: Path, learned: LearnedSet, preview: np.ndarray | None) -> list[str]:
    """Load the configuration as a user does and compare with the npz, bit for bit."""
    datasets = library("datasets")
    name = learned.name
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset(
                str(folder.resolve()), name, split="train", cache_dir=cache
            )
            expected = features(learned.record, learned.images.shape[1:])
            if rows.features != expected:
                return [f"{name}: the columns are {rows.features}, not {expected}"]
            if len(rows) != len(learned.images):
                return [f"{name}: {len(rows)} rows for {len(learned.images)} images"]
            shown = [pixels(image) for image in rows["image"]]
            columns = ["image_whitened", "soft_label", "label", "support_index"]
            arrays = rows.select_columns(columns).with_format("numpy")[:]
    except Exception as error:  # whatever a damaged file or card makes the library raise
        reason = " ".join(str(error).split())[:300]
        return [f"{name}: `datasets` cannot load {layout.parquet(name)} ({reason})"]
    problems = []
    for column, array in (("image_whitened", learned.images), ("soft_label", learned.labels)):
        got = np.ascontiguousarray(arrays[column])
        if got.shape != array.shape or got.dtype != array.dtype or got.tobytes() != array.tobytes():
            problems.append(f"{name}: {column} is not bit-equal to {layout.npz(name)}")
    if not np.array_equal(arrays["support_index"], np.arange(len(rows))):
        problems.append(f"{name}: support_index does not count the rows")
    counts = np.bincount(arrays["label"], minlength=learned.record["n_classes"])
    if not (counts == learned.record["images_per_class"]).all():
        problems.append(f"{name}: label does not have as many slots for every class")
    if not learned.record["learned_labels"] and (arrays["label"] != learned.classes).any():
        problems.append(f"{name}: label is not the class of the fixed soft_label")
    if any(image.shape != learned.images.shape[1:] for image in shown):
        problems.append(f"{name}: image is not of shape {learned.images.shape[1:]}")
    elif preview is not None:
        off = np.abs(np.stack(shown).astype(int) - preview).max()
        if off > PREVIEW_TOLERANCE:
            problems.append(
                f"{name}: image is not the inverse transform of image_whitened (off by {off})"
            )
    return problems
