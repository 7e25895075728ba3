"""Parquet as the Hugging Face Hub stores image data sets: PNG bytes in a struct column."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paper_repro.core.data.notice import count_progress
from paper_repro.core.data.registry import Spec
from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow

SPLITS = ("train", "test")


def find_snapshot(directory: Path, spec: Spec) -> Path | None:
    """The folder with `spec`'s `train-*.parquet` and `test-*.parquet`, or None.

    Looked for in `directory` itself and in the folders a copy or a download would have there:
    `<name>`, `<repository>`, `<owner>/<repository>` and the Hub cache's own layout.
    """
    owner, repository = spec.hub.repo.split("/")
    cached = directory / f"datasets--{owner}--{repository}" / "snapshots"
    roots = (
        directory / spec.name,
        directory / repository,
        directory / owner / repository,
        *(sorted(cached.iterdir()) if cached.is_dir() else ()),
        directory,
    )
    for root in roots:
        for folder in (root / spec.hub.config, root / "data", root):
            if folder == directory or folder == directory / "data":
                continue  # files without a configuration's folder could be any data set
            if any(folder.glob("train*.parquet")):
                return folder
    return None


def read_folder(folder: Path, spec: Spec) -> dict[str, np.ndarray]:
    """Decode the training and test files of a snapshot into the four arrays.

    Raises:
      UserError: files are missing or damaged, or columns are not those of the Hub's data set.
    """
    import pyarrow
    import pyarrow.parquet

    arrays = {}
    for split in SPLITS:
        files = sorted(folder.glob(f"{split}*.parquet"))
        if not files:
            raise UserError(f"{folder} has no {split}-*.parquet: copy the whole snapshot there")
        try:
            tables = [pyarrow.parquet.read_table(file) for file in files]
            table = pyarrow.concat_tables(tables)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f"{folder} has a damaged {split} file ({error}): fetch it again"
            ) from error
        images, labels = decode_table(table, spec, f"{folder} ({split})")
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images, labels
    return arrays


def decode_table(table: pyarrow.Table, spec: Spec, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Decode a table's PNG bytes and labels: uint8 `(n, H, W, C)` and integers `(n,)`.

    Raises:
      UserError: a column is missing, empty or of another type, or an image cannot be decoded.
    """
    columns = (spec.hub.image_column, spec.hub.label_column)
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise UserError(f"{where} has no column {', '.join(missing)}: it is not {spec.title}")
    image_column, label_column = (table.column(column) for column in columns)
    if image_column.null_count or label_column.null_count:
        raise UserError(f"{where} has rows without an image or a label: fetch it again")
    height, width, channels = spec.image_shape
    images = np.empty((len(image_column), height, width, channels), np.uint8)
    mode = {1: "L", 3: "RGB"}[channels]
    with count_progress() as progress:
        task = progress.add_task(f"decoding {spec.name}", total=len(images))
        for row, cell in enumerate(image_column):
            images[row] = _decode(cell, mode, (height, width), f"{where}, row {row}").reshape(
                spec.image_shape
            )
            if row % 500 == 499:
                progress.update(task, completed=row + 1)
        progress.update(task, completed=len(images))
    return images, label_column.to_numpy()


def _decode(cell, mode: str, size: tuple[int, int], where: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(cell["bytes"].as_py())) as image:
            if (image.height, image.width) != size:
                raise UserError(f"{where}: an image of {image.width}x{image.height} pixels")
            return np.asarray(image.convert(mode))
    except UserError:
        raise
    except Exception as error:  # whatever a damaged image makes the decoder raise
        raise UserError(f"{where}: the image cannot be decoded") from error
