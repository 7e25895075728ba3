"""IDX, tar, Debian packages and PNG sheets, as the package mirrors carry them."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from tiny_data import deb, fashion_deb, idx, make_arrays, mnist_tarball, png, tar

from paper_repro.core.data.arrays import KEYS, normalise
from paper_repro.core.data.mirrors.archives import deb_payload, parse_idx, read_tar
from paper_repro.core.data.mirrors.sources import (
    decode_cifar10_npm,
    decode_fashion_deb,
    decode_mnist_npm,
)


def test_idx_plain_and_gzipped():
    array = make_arrays(shape=(6, 5, 1))["x_train"]
    for data in (idx(array), gzip.compress(idx(array))):
        assert np.array_equal(parse_idx(data), array[..., 0])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x08", id="header cut short"),
        pytest.param(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", id="float32"),
        pytest.param(b"\0\0\x08\x01\0\0\0\x05abc", id="too short"),
        pytest.param(b"\0\0\x08\x01\0\0\0\x02abc", id="too long"),
        pytest.param(b"\0\0\x08\x09" + bytes(36), id="nine dimensions"),
        pytest.param(gzip.compress(idx(np.zeros((3, 4), np.uint8)))[:-9], id="gzip cut short"),
        pytest.param(b"\x1f\x8bnonsense", id="not gzip"),
    ],
)
def test_damaged_idx_is_refused(data):
    with pytest.raises(ValueError):
        parse_idx(data)


def test_packages_of_idx_files_decode():
    arrays = make_arrays(shape=(6, 5, 1))
    for decoded in (
        decode_mnist_npm(io.BytesIO(mnist_tarball(arrays))),
        decode_fashion_deb(io.BytesIO(fashion_deb(arrays))),
    ):
        decoded = normalise(decoded, "package")
        assert all(np.array_equal(decoded[key], arrays[key]) for key in KEYS)


def test_png_sheets_decode_to_one_image_a_row():
    arrays = make_arrays(n_train=15, n_test=3, shape=(32, 32, 3))
    sheets = {
        f"package/data_batch_{i + 1}.png": png(block.reshape(3, 1024, 3))
        for i, block in enumerate(np.split(arrays["x_train"], 5))
    }
    members = {
        **sheets,
        "package/test_batch.png": png(arrays["x_test"].reshape(3, 1024, 3)),
        "package/train_lables.json": json.dumps(arrays["y_train"].tolist()).encode(),
        "package/test_lables.json": json.dumps(arrays["y_test"].tolist()).encode(),
    }
    decoded = normalise(decode_cifar10_npm(io.BytesIO(tar(members))), "package")
    assert all(np.array_equal(decoded[key], arrays[key]) for key in KEYS)
    for name, content in (
        ("package/test_batch.png", b"not a PNG"),
        ("package/data_batch_2.png", sheets["package/data_batch_2.png"][:100]),
        ("package/test_lables.json", b"[1, 2"),
        ("package/train_lables.json", b'["cat"]'),
    ):
        with pytest.raises(ValueError):
            decode_cifar10_npm(io.BytesIO(tar({**members, name: content})))


def test_tar_reads_only_the_regular_files_asked_for():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, kind in (("../../escape", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/hostname"
            archive.addfile(member, io.BytesIO())
        member = tarfile.TarInfo("./wanted")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
    assert read_tar(io.BytesIO(buffer.getvalue()), ["wanted"]) == {"wanted": b"data"}
    with pytest.raises(ValueError, match="the archive has no link"):
        read_tar(io.BytesIO(buffer.getvalue()), ["wanted", "link"])


def test_damaged_archives_are_refused():
    tarball = tar({"a": np.random.default_rng(0).bytes(5000)})
    for data in (b"", b"text", tarball[: len(tarball) // 2]):
        with pytest.raises(ValueError):
            read_tar(io.BytesIO(data), ["a"])
    package = deb(b"payload")
    assert deb_payload(io.BytesIO(package)).read() == b"payload"
    for data in (b"", b"text" * 9, package[:-5], package[:80], deb(b"", name="other")):
        with pytest.raises(ValueError):
            deb_payload(io.BytesIO(data))
