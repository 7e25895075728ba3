"""IDX, the big-endian array format of MNIST."""

from __future__ import annotations

import gzip
import math
import struct
import zlib

import numpy as np

_UINT8 = 0x08
_MAX_DIMENSIONS = 4


def parse_idx(data: bytes) -> np.ndarray:
    """Decode an IDX file of unsigned bytes, gzipped or not, into a uint8 array.

    Raises:
      ValueError: another element type, or a length that does not match the header.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"damaged gzip stream ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UINT8:
        raise ValueError("not an IDX file of unsigned bytes")
    n_dimensions = data[3]
    start = 4 + 4 * n_dimensions
    if not 1 <= n_dimensions <= _MAX_DIMENSIONS or len(data) < start:
        raise ValueError(f"IDX header with {n_dimensions} dimensions")
    shape = struct.unpack(f">{n_dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(f"IDX header promises shape {shape}, {len(data) - start} bytes follow")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
