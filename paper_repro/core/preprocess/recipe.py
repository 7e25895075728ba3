"""What "ZCA" means elsewhere: preprocessing as it is published, fitted on a data set at hand.

Three of them are presets; `recipe_file` reads others from a file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paper_repro.core.data import Dataset
from paper_repro.core.data.arrays import plain_numbers
from paper_repro.core.data.npz import read_npz
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.affine import Affine
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.transform import blocks
from paper_repro.core.preprocess.zca import layer_norm, require_whitenable
from paper_repro.core.store.files import sha256_of_content

Constants = tuple[float, ...] | str | None
"""Numbers per channel, "fitted", or none."""


@dataclasses.dataclass(frozen=True)
class Whitening:
    """A whitening that is fitted.

    Attributes:
      centred: the mean image is subtracted.
      regularisation: what is added to the eigenvalues of the covariance.
      relative: it is a multiple of their mean.
      unbiased: the covariance is divided by n - 1.
    """

    centred: bool
    regularisation: float
    relative: bool
    unbiased: bool = False


@dataclasses.dataclass(frozen=True)
class GivenMap:
    """A map that somebody else fitted.

    Attributes:
      path: npz with `mean` and `matrix`.
      axes: the order in which they flatten an image, HWC or CHW.
    """

    path: Path
    axes: str = "HWC"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Somebody's preprocessing; `recipe_file` says what is done in which order.

    Attributes:
      name: what a release calls it: a-z, 0-9, dashes and underscores.
      source: whose it is, and where that is written.
      pixel_range: pixels lie in 0 to this number when `mean` and `std` are applied, 1 or 255.
      mean: per channel.
      std: per channel.
      unit_norm: every image is brought to mean 0 and norm 1.
      whitening: the map at the end, or none.
    """

    name: str
    source: str
    pixel_range: float = 255
    mean: Constants = None
    std: Constants = None
    unit_norm: bool = False
    whitening: Whitening | GivenMap | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 over everything that decides a fit, the given map's numbers included."""
        fields = dataclasses.asdict(self)
        arrays = {}
        if isinstance(self.whitening, GivenMap):
            fields["whitening"] = {"axes": self.whitening.axes}
            arrays = _read_map(self.whitening.path)
        return sha256_of_content({"recipe": json.dumps(fields, sort_keys=True)}, arrays)

    def fit(self, data: Dataset) -> Affine:
        """The transform of `data` that this recipe describes, in float64.

        Raises:
          UserError: constants or a map that do not fit the images, or images too large to whiten.
        """
        standard = self._standard(data)
        centre, matrix, mean_norm = None, None, 1.0
        if isinstance(self.whitening, Whitening) or self.unit_norm:
            moments = _Moments.of(data.x_train, standard, self.unit_norm)
            mean_norm = moments.mean_norm
        if isinstance(self.whitening, Whitening):
            centre, matrix = moments.whitening(self.whitening)
        elif isinstance(self.whitening, GivenMap):
            centre, matrix = _given(self.whitening, data.image_shape)
        return Affine(standard, self.unit_norm, centre, matrix, mean_norm, self.name, self.source)

    def _standard(self, data: Dataset) -> Standard:
        fitted = Standard.fit(data.x_train)
        per_channel = []
        # Constants are on the recipe's scale, transforms take pixels in 0..255.
        for constants, fit, none in ((self.mean, fitted.mean, 0.0), (self.std, fitted.std, 1.0)):
            if constants == "fitted":
                per_channel.append(fit)
                continue
            values = np.full(len(fit), none) if constants is None else np.array(constants)
            if values.shape != fit.shape:
                raise UserError(
                    f"the recipe {self.name} has {len(values)} constants for images of "
                    f"{len(fit)} channels"
                )
            per_channel.append(values * 255 / self.pixel_range)
        return Standard(*per_channel, data.image_shape)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """First and second moments of preprocessed training images.

    Attributes:
      mean: float64 (d,).
      second: float64 (d, d), the mean of x x^T.
      n: how many images.
      mean_norm: mean of the norms that were divided by; 1 without `unit_norm`.
    """

    mean: np.ndarray
    second: np.ndarray
    n: int
    mean_norm: float

    @classmethod
    def of(cls, images: np.ndarray, standard: Standard, unit_norm: bool) -> _Moments:
        require_whitenable(images.shape[1:])
        d = int(np.prod(images.shape[1:]))
        total, second, norms = np.zeros(d), np.zeros((d, d)), 0.0
        for rows in blocks(len(images)):
            x = standard.apply(images[rows], np.float64)
            x, norm = layer_norm(x) if unit_norm else (x.reshape(len(x), -1), np.ones(len(x)))
            total += x.sum(0)
            second += x.T @ x
            norms += float(norm.sum())
        n = len(images)
        return cls(total / n, second / n, n, norms / n)

    def whitening(self, how: Whitening) -> tuple[np.ndarray, np.ndarray]:
        centre = self.mean if how.centred else np.zeros_like(self.mean)
        covariance = self.second - np.outer(centre, centre)
        if how.unbiased:
            covariance *= self.n / (self.n - 1)
        s, u = np.linalg.eigh(covariance)
        s = np.maximum(s, 0)
        ridge = how.regularisation * (s.mean() if how.relative else 1.0)
        return centre, (u * (s + ridge) ** -0.5) @ u.T


def _read_map(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_npz(path, ("mean", "matrix"))
    except FileNotFoundError as error:
        raise UserError(f"no map at {path}: it holds mean and matrix") from error
    return {
        name: plain_numbers(array, f"{path}: {name}").astype(np.float64)
        for name, array in arrays.items()
    }


def _given(given: GivenMap, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    arrays = _read_map(given.path)
    mean, matrix = arrays["mean"].ravel(), arrays["matrix"]
    d = int(np.prod(shape))
    if mean.shape != (d,) or matrix.shape != (d, d):
        raise UserError(
            f"{given.path}: mean {arrays['mean'].shape} and matrix {matrix.shape} do not fit "
            f"images {shape}, flattened to {d} numbers"
        )
    if given.axes == "CHW":
        height, width, channels = shape
        order = np.arange(d).reshape(channels, height, width).transpose(1, 2, 0).ravel()
        mean, matrix = mean[order], matrix[np.ix_(order, order)]
    return mean, np.ascontiguousarray(matrix)


RFAD = "RFAD, arXiv 2210.12067; github.com/yolky/RFAD, data.py and run_distillation.py"
MTT = (
    "MTT, arXiv 2203.11932, and DC-BENCH, arXiv 2207.09639: kornia.enhance.ZCAWhitening(eps=0.1) "
    "of pixels in 0..1; github.com/GeorgeCazenavette/mtt-distillation, utils.py"
)
FREPO = "FRePo, arXiv 2206.00719; github.com/yongchaoz/FRePo, lib/dataset/dataloader.py and ops.py"

_FREPO_CONSTANTS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}

PRESETS = ("zca-rfad", "zca-mtt", "zca-frepo")
"""Whitenings of other projects that their papers and code state; ours is `zca`."""


def preset(name: str, dataset: str) -> Recipe:
    """The recipe of one of `PRESETS` for a data set.

    RFAD brings the images of SVHN, and of no other set, to unit norm. FRePo's constants are
    rounded ones of each data set; where it has none, those of the training images are taken.
    """
    if name == "zca-rfad":
        whitening = Whitening(centred=False, regularisation=0.1, relative=True)
        unit_norm = dataset.startswith("svhn")
        return Recipe(name, RFAD, 255, "fitted", "fitted", unit_norm, whitening)
    if name == "zca-mtt":
        whitening = Whitening(centred=True, regularisation=0.1, relative=False, unbiased=True)
        return Recipe(name, MTT, 1, whitening=whitening)
    whitening = Whitening(centred=True, regularisation=0.1, relative=True)
    mean, std = _FREPO_CONSTANTS.get(dataset, ("fitted", "fitted"))
    return Recipe(name, FREPO, 1, mean, std, whitening=whitening)
