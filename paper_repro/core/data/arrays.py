"""Arrays that came from outside: their dtypes, the four of a data set, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.store.files import sha256_of_array

KEYS = ("x_train", "y_train", "x_test", "y_test")
MIN_TRAIN = 10  # a tenth of the training images is held out for validation


LARGEST_WHOLE = 2**53
"""float64 holds every whole number up to this one."""


def plain_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """`values` in a dtype that this project computes with, every value kept exactly.

    Args:
      values: an array or nested lists. Booleans become uint8, float16 and bfloat16 float32, wider
        floats float64; another byte order becomes this machine's.
      what: what a message calls them, as "the images".

    Raises:
      UserError: lists of different lengths, a dtype that is no number (text, complex, void,
        objects), or numbers that float64 cannot hold; the dtype is named.

    Example:
      >>> plain_numbers(np.array([0.5, 2], ">f2"), "the images")
      array([0.5, 2. ], dtype=float32)
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{what} are no array ({error}): bring all to one shape first") from error
    dtype = array.dtype
    if dtype.kind == "b":
        return array.astype(np.uint8)
    if dtype.kind in "iu":
        if array.size and max(int(array.max()), -int(array.min())) > LARGEST_WHOLE:
            raise UserError(
                f"{what} are {dtype} with values beyond 2^53, which float64 cannot hold: save "
                "smaller numbers"
            )
        return np.asarray(array, np.int64 if dtype.itemsize == 8 else dtype.newbyteorder("="))
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return np.asarray(array, dtype.newbyteorder("="))
    if np.can_cast(dtype, np.float32):
        return array.astype(np.float32)
    if dtype.kind == "f":
        narrow = array.astype(np.float64)
        if not np.array_equal(narrow, array, equal_nan=True):
            raise UserError(
                f"{what} are {dtype}, with digits that float64 cannot hold: save "
                "x.astype('float64')"
            )
        return narrow
    raise UserError(not_numbers(dtype, what))


def not_numbers(dtype: np.dtype, what: str) -> str:
    """The message that refuses a dtype: what it is, and what to save instead."""
    if dtype.names:
        return f"{what} are records of {', '.join(dtype.names)}: save one array of numbers"
    advice = {
        "V": "as bfloat16 is saved by NumPy: save x.astype('float32')",
        "c": "complex: save x.real if that is all there is",
        "U": "text: save numbers",
        "S": "text: save numbers",
        "O": "Python objects: save plain numeric arrays",
    }.get(dtype.kind, "not numbers: save x.astype('float32')")
    return f"{what} are of dtype {dtype}, {advice}"


def normalise(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Return the four arrays as uint8, C-contiguous, images `(n, H, W, C)`, labels `(n,)`.

    Grayscale images `(n, H, W)` get a channel axis of 1; integer labels of another width are
    cast when they fit. Nothing else is repaired.

    Raises:
      UserError: a key is missing, images are not uint8, labels are not integers in 0..255, the
        lengths differ, or the two splits do not fit together; the message starts with `where`.
    """
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise UserError(
            f"{where} has no {', '.join(missing)}: a data set is the four arrays {', '.join(KEYS)}"
        )
    result = {}
    for split in ("train", "test"):
        images = _images(np.asarray(arrays[f"x_{split}"]), f"x_{split}", where)
        labels = _labels(np.asarray(arrays[f"y_{split}"]), f"y_{split}", where)
        if len(images) != len(labels):
            raise UserError(
                f"{where}: labels do not match images, x_{split} has {len(images)} rows and "
                f"y_{split} has {len(labels)}"
            )
        result[f"x_{split}"], result[f"y_{split}"] = images, labels
    train, test = result["x_train"], result["x_test"]
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"{where}: training images are {train.shape[1:]} and test images {test.shape[1:]}, "
            "they must have one shape"
        )
    if len(train) < MIN_TRAIN or len(test) == 0:
        raise UserError(
            f"{where} holds {len(train)} training and {len(test)} test images: at least "
            f"{MIN_TRAIN} and 1 are needed"
        )
    return result


def _images(images: np.ndarray, key: str, where: str) -> np.ndarray:
    if images.dtype != np.uint8:
        nan = np.issubdtype(images.dtype, np.floating) and bool(np.isnan(images).any())
        raise UserError(
            f"{where}: {key} holds {images.dtype} values{' with NaN among them' if nan else ''}, "
            "images must be raw uint8 from 0 to 255 (preprocessing is applied later)"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape[1:] or images.shape[3] not in (1, 3):
        raise UserError(
            f"{where}: {key} has shape {images.shape}, expected (n, height, width) or "
            "(n, height, width, channels) with 1 or 3 channels last"
        )
    return np.ascontiguousarray(images)


def _labels(labels: np.ndarray, key: str, where: str) -> np.ndarray:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{where}: {key} has shape {labels.shape} and dtype {labels.dtype}, labels must be "
            "one integer per image"
        )
    if labels.size and not (0 <= int(labels.min()) and int(labels.max()) <= 255):
        raise UserError(
            f"{where}: {key} ranges from {labels.min()} to {labels.max()}, labels must count "
            "from 0 and stay below 256"
        )
    return np.ascontiguousarray(labels, dtype=np.uint8)


def digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Hex SHA-256 of each array's bytes in C order."""
    return {key: sha256_of_array(arrays[key]) for key in KEYS}


def combined_digest(array_sha256: Mapping[str, str]) -> str:
    """Hex SHA-256 of the set: over the lines `<key> <digest of the array>`, in `KEYS` order."""
    lines = "".join(f"{key} {array_sha256[key]}\n" for key in KEYS)
    return hashlib.sha256(lines.encode()).hexdigest()
