"""The Parquet rows of a set: written with the features the Hub shows, read back with checks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core.data.network import library
from paper_repro.core.errors import UserError
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from datasets import Features

COLUMNS = {
    "image_whitened": "the image as the kernel consumes it, standardised or whitened, float32 "
    "(H, W, C)",
    "image": "the same through the inverse transform, uint8, for people to look at",
    "soft_label": "the label as KRR and training consume it, one value per class",
    "label": "the class that this slot of the support belongs to",
    "support_index": "the place of the image in the set, from 0",
}


def features(record: Mapping[str, Any], image_shape: tuple[int, ...]) -> Features:
    """The features of a configuration, as `datasets` and the Hub have them."""
    datasets = library("datasets")
    value = datasets.Value
    return datasets.Features(
        {
            "image_whitened": datasets.Array3D(tuple(image_shape), "float32"),
            "image": datasets.Image(),
            "soft_label": datasets.List(value("float32"), length=record["n_classes"]),
            "label": datasets.ClassLabel(names=list(record["class_names"])),
            "support_index": value("int32"),
        }
    )


def write_parquet(path: Path, learned: LearnedSet, preview: np.ndarray) -> int:
    """Write the rows of a set; the same set makes the same bytes.

    Args:
      path: the file.
      learned: the set.
      preview: uint8 (n, H, W, C), its images through the inverse transform.

    Returns:
      The size of the rows in memory, in bytes.
    """
    datasets = library("datasets")
    datasets.disable_progress_bars()
    rows = {
        "image_whitened": list(learned.images),
        "image": [{"bytes": png(image), "path": None} for image in preview],
        "soft_label": list(learned.labels),
        "label": learned.classes.tolist(),
        "support_index": list(range(len(learned.images))),
    }
    dataset = datasets.Dataset.from_dict(
        rows, features=features(learned.record, learned.images.shape[1:])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return dataset.to_parquet(path)


def read_classes(path: Path, record: Mapping[str, Any]) -> np.ndarray:
    """The column `label` of a set's rows, int64 (n,).

    Raises:
      UserError: no such file or column, or not one class for every image.
    """
    import pyarrow
    import pyarrow.parquet as pq

    try:
        label = pq.read_table(path, columns=["label"])["label"].to_numpy()
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} has no readable column of labels ({error})") from error
    n_classes, n = record["n_classes"], record["n_classes"] * record["images_per_class"]
    if label.shape != (n,) or label.dtype != np.int64 or not (0 <= label).all():
        raise UserError(f"{path}: the labels are not {n} class numbers")
    if label.max() >= n_classes:
        raise UserError(f"{path}: a label is beyond the {n_classes} classes")
    return np.array(label)


def png(image: np.ndarray) -> bytes:
    """A PNG of a uint8 image (H, W, 1 or 3), without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def pixels(image: Any) -> np.ndarray:
    """uint8 (H, W, C) of what `datasets` decodes an `image` to."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array
