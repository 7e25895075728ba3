"""Data sets as a few compact files, each small enough to travel alone.

The images lie below one another in strips, as lossless WebP: CIFAR-10 takes 97 MiB in four parts
instead of 176, and every byte comes back. A part is an npz archive under a name of its own, so
that a folder that fills up over several transfers has a set once all of its parts are there.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from paper_repro.core.data.arrays import combined_digest, digests
from paper_repro.core.data.dataset import Dataset
from paper_repro.core.data.npz import read_npz, write_npz
from paper_repro.core.errors import UserError

PART_BYTES = 30 * 2**20
"""A part is smaller."""

_NAME = re.compile(r"(.+)\.(\d+)-of-(\d+)\.part")
_SPLITS = ("train", "test")
_STRIP_ROWS = 16_000
_HEADER_BYTES = 2**20


def write_parts(data: Dataset, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write `<name>.1-of-4.part` and so on into `folder`.

    Args:
      data: any data set whose images have one or three channels.
      folder: created where it is missing.
      part_bytes: a part is smaller; at least 2 MiB and one strip of images.

    Returns:
      The files.

    Raises:
      OSError: the folder cannot be written or the disk is full.

    Example:
      >>> from paper_repro.core.data import load_dataset
      >>> data = load_dataset("dots", tmp_path)
      >>> [path.name for path in write_parts(data, tmp_path / "parts")]
      ['dots.1-of-1.part']
      >>> np.array_equal(read_parts(tmp_path / "parts", "dots")["x_test"], data.x_test)
      True
    """
    arrays = {key: getattr(data, key) for key in data.array_sha256}
    with ThreadPoolExecutor() as pool:
        strips = list(pool.map(_encoded, _strips(arrays)))
    groups: list[list[bytes]] = [[]]
    for strip in strips:
        # The labels travel with the first part.
        room = part_bytes - _HEADER_BYTES - sum(map(len, groups[-1]))
        room -= 0 if len(groups) > 1 else arrays["y_train"].nbytes + arrays["y_test"].nbytes
        if groups[-1] and len(strip) > room:
            groups.append([])
        groups[-1].append(strip)
    paths = []
    for number, group in enumerate(groups, 1):
        path = folder / f"{data.name}.{number}-of-{len(groups)}.part"
        content = {
            "data_sha256": np.array(data.data_sha256),
            "sizes": np.array([len(strip) for strip in group]),
            "strips": np.frombuffer(b"".join(group), np.uint8),
        }
        if number == 1:
            content |= {f"shape_{split}": np.array(arrays[f"x_{split}"].shape) for split in _SPLITS}
            content |= {f"y_{split}": arrays[f"y_{split}"] for split in _SPLITS}
            content["class_names"] = np.array(data.class_names)
        write_npz(path, content)
        paths.append(path)
    return paths


def complete_names(folder: Path) -> tuple[str, ...]:
    """Names of the data sets of which `folder` has all parts."""
    return tuple(sorted(name for name in _names(folder) if _paths(folder, name) is not None))


def incomplete_names(folder: Path) -> dict[str, str]:
    """Data sets of which parts are missing, with how many are there: `{"cifar10": "1 of 4"}`."""
    found = {}
    for name, numbers in _names(folder).items():
        if _paths(folder, name) is None:
            of = max(n for _, n in numbers)
            found[name] = f"{len({i for i, n in numbers if n == of})} of {of}"
    return found


def read_parts(folder: Path, name: str) -> dict[str, np.ndarray] | None:
    """The four arrays of a data set and its `class_names`; None where a part is missing.

    Raises:
      UserError: a part is damaged, or of another packing than the first.
    """
    paths = _paths(folder, name)
    if paths is None:
        return None
    keys = ("data_sha256", "sizes", "strips")
    first = ("shape_train", "shape_test", "y_train", "y_test", "class_names")
    contents = [
        read_npz(path, (*keys, *(first if at == 0 else ()))) for at, path in enumerate(paths)
    ]
    head, strips = contents[0], []
    for path, content in zip(paths, contents, strict=True):
        if str(content["data_sha256"]) != str(head["data_sha256"]):
            raise UserError(f"{path} is a part of other data than {paths[0].name}: pack them again")
        ends = np.cumsum(content["sizes"])
        raw = content["strips"].tobytes()
        strips += [raw[end - size : end] for size, end in zip(content["sizes"], ends, strict=True)]
    shapes = {split: tuple(head[f"shape_{split}"].tolist()) for split in _SPLITS}
    try:
        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(lambda strip: _decoded(strip, shapes["train"][-1]), strips))
        images = np.concatenate(rows).reshape(-1, *shapes["train"][1:])
        found = {
            "x_train": images[: shapes["train"][0]],
            "x_test": images[shapes["train"][0] :],
            **{f"y_{split}": head[f"y_{split}"] for split in _SPLITS},
        }
    except (OSError, ValueError) as error:
        raise UserError(f"{paths[0]} or a part after it is damaged: pack them again") from error
    if combined_digest(digests(found)) != str(head["data_sha256"]):
        raise UserError(f"{paths[0]} or a part after it is damaged: pack them again")
    return {**found, "class_names": head["class_names"]}


def _names(folder: Path) -> dict[str, set[tuple[int, int]]]:
    """(number, of how many) of the parts in `folder`, by data set."""
    found: dict[str, set[tuple[int, int]]] = {}
    for path in folder.glob("*.part"):
        if match := _NAME.fullmatch(path.name):
            name, number, of = match.groups()
            found.setdefault(name, set()).add((int(number), int(of)))
    return found


def _paths(folder: Path, name: str) -> list[Path] | None:
    """All parts of a data set in order, or None."""
    numbers = _names(folder).get(name, set())
    for of in sorted({n for _, n in numbers}):
        if {(number, of) for number in range(1, of + 1)} <= numbers:
            return [folder / f"{name}.{number}-of-{of}.part" for number in range(1, of + 1)]
    return None


def _strips(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Training images, then test images, below one another in strips of at most 16,000 rows."""
    strips = []
    for split in _SPLITS:
        images = arrays[f"x_{split}"]
        size = max(1, _STRIP_ROWS // images.shape[1])
        parts = (images[start : start + size] for start in range(0, len(images), size))
        strips += [part.reshape(-1, *images.shape[2:]) for part in parts]
    return strips


def _encoded(strip: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip).convert("RGB")
    image.save(buffer, "WEBP", lossless=True, quality=50, method=2, exact=True)
    return buffer.getvalue()


def _decoded(strip: bytes, channels: int) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(strip)) as image:
        return np.asarray(image.convert("RGB"))[..., :channels]
