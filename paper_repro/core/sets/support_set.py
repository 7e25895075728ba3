"""A support set from a file: images and labels under the official keys, checked before use."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class SupportSet:
    """Learned images with their labels.

    Attributes:
      path: of the file.
      images: (n, H, W, C), as the file has them: kernel inputs or raw pixels.
      labels: float64 (n, n_classes), centred one-hot or learned.
    """

    path: Path
    images: np.ndarray
    labels: np.ndarray

    @property
    def kernel_inputs(self) -> np.ndarray:
        """The images as preprocessed ones, floats (n, H, W, C) of the file's dtype.

        Raises:
          UserError: integers, or floats none of which is negative, which are raw pixels: whitened
            and standardised images have values on both sides of the mean.
        """
        what = None
        if not np.issubdtype(self.images.dtype, np.floating):
            what = f"are {self.images.dtype}"
        elif self.images.max() > self.images.min() >= 0:
            what = "have no negative value"
        if what is not None:
            raise UserError(
                f"{self.path}: the images {what}, so raw pixels: store what the "
                "transform of their preprocessing makes of them (evaluate takes raw with --raw)"
            )
        return self.images

    @property
    def pixels(self) -> np.ndarray:
        """The images as raw ones, (n, H, W, C) of the file's dtype.

        Raises:
          UserError: floats in 0..1, where the pixels of data sets are in 0..255.
        """
        from paper_repro.core.preprocess.transform import is_fraction

        if is_fraction(self.images):
            raise UserError(f"{self.path}: the images are pixels in 0..1: multiply by 255")
        return self.images


def read_support_set(path: Path, image_shape: tuple[int, ...], n_classes: int) -> SupportSet:
    """Read an npz with the official keys `images` and `labels`.

    Args:
      path: of the npz.
      image_shape: (H, W, C) of the data set; NCHW images are transposed to it.
      n_classes: K; labels are (n, K) on the scale of one-hot minus 1/K. Class numbers (n,) and
        plain one-hot rows are brought there.

    Raises:
      UserError: not such a file, shapes that do not fit the data set, or values that are not
        finite.
    """
    from paper_repro.core.data.npz import read_npz
    from paper_repro.core.labels import centred_one_hot, is_one_hot

    try:
        arrays = read_npz(path, ("images", "labels"))
    except FileNotFoundError as error:
        raise UserError(f"no support set at {path}") from error
    images, labels = arrays["images"], arrays["labels"]
    height, width, channels = image_shape
    if images.ndim == 3 and channels == 1:
        images = images[..., None]
    if images.shape[1:] == (channels, height, width) != tuple(image_shape):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[1:] != tuple(image_shape) or not len(images):
        raise UserError(
            f"{path}: images {images.shape} do not fit the data set, whose images are "
            f"{tuple(image_shape)} (NHWC) or {(channels, height, width)} (NCHW)"
        )
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        labels = centred_one_hot(labels, n_classes)
    if labels.shape != (len(images), n_classes):
        raise UserError(
            f"{path}: labels {labels.shape} do not fit {len(images)} images of {n_classes} classes"
        )
    for name, array in (("images", images), ("labels", labels)):
        if not np.isfinite(array).all():
            raise UserError(f"{path}: the {name} have NaN or infinite values")
    if is_one_hot(labels):
        labels = centred_one_hot(labels.argmax(1), n_classes)
    return SupportSet(path, np.ascontiguousarray(images), np.asarray(labels, np.float64))
