"""The published test vectors: what the ZCA of a data set does to one fixed image.

"ZCA" means several different things in this literature. Whoever writes their own checks it
against `test_vectors.json`: made by `python -m paper_repro.core.preprocess --write PATH`, it
gives for each data set the input as a formula, the output at 32 coordinates and its L2 norm, and
the numbers of the fit (mean norm, extreme eigenvalues) that locate a difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.data import Dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.storage import TEST_TOLERANCE, test_image
from paper_repro.core.preprocess.zca import ZCA

SHIPPED = Path(__file__).with_name("test_vectors.json")

_N_COORDINATES, _N_EIGENVALUES = 32, 3
_MEASURED = ("output", "output_norm", "mean_norm", "eigenvalues_first", "eigenvalues_last")


def make_vector(dataset: Dataset, transform: ZCA) -> dict[str, Any]:
    """The test vector of a ZCA fitted on all training images of `dataset`, as JSON values."""
    output = transform.apply(test_image(transform.image_shape), np.float64)[0]
    coordinates = _coordinates(output.shape)
    return {
        "data_sha256": dataset.data_sha256,
        "n_train": len(dataset.x_train),
        "regularisation": transform.regularisation,
        "input": "uint8 image, pixel[r, c, ch] = (7 r + 13 c + 29 ch + r c) mod 256",
        "image_shape": list(output.shape),
        "coordinates": coordinates.tolist(),
        "output": output[tuple(coordinates.T)].tolist(),
        "output_norm": float(np.linalg.norm(output)),
        "mean_norm": float(transform.mean_norm),
        "eigenvalues_first": transform.eigenvalues[:_N_EIGENVALUES].tolist(),
        "eigenvalues_last": transform.eigenvalues[-_N_EIGENVALUES:].tolist(),
    }


def check_vector(expected: dict[str, Any], found: dict[str, Any]) -> float:
    """The largest difference between two test vectors, relative where a number exceeds 1.

    Raises:
      UserError: they belong to other data or settings, or differ by more than TEST_TOLERANCE.
    """
    for key in sorted(expected.keys() | found.keys()):
        if key not in _MEASURED and expected.get(key) != found.get(key):
            raise UserError(
                f"the test vector has {key} {expected.get(key)}, this transform {found.get(key)}"
            )
    worst = 0.0
    for key in _MEASURED:
        want, got = (np.asarray(vector[key], np.float64) for vector in (expected, found))
        difference = float(np.max(np.abs(got - want) / np.maximum(1, np.abs(want))))
        if not difference <= TEST_TOLERANCE:
            raise UserError(
                f"the transform does not reproduce the test vector: {key} is off by "
                f"{difference:.1e} (at most {TEST_TOLERANCE:g} is allowed)"
            )
        worst = max(worst, difference)
    return worst


def read_vectors(path: Path = SHIPPED) -> dict[str, dict[str, Any]]:
    """Test vectors by data set."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not a file of test vectors ({error})") from error


def _coordinates(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed (r, c, ch) spread over the image, (32, 3)."""
    flat = (97 * np.arange(_N_COORDINATES) + 5) % int(np.prod(shape))
    return np.stack(np.unravel_index(flat, shape), axis=1)
