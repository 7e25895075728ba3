"""One learned set: images and labels, from wherever they come, with what is known of them.

A method returns one made of arrays (`LearnedSet.of`). `catalogue.read_set` reads one of a
`checkpoints/` directory, `LearnedSet.from_npz` one of an npz with the official keys, and
`release.load` one of a release. Arrays in files are read when they are first asked for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.labels import is_centred_one_hot
from paper_repro.core.sets.sources import Arrays, InMemory, NpzFile, Source

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedSet:
    """Learned images with their labels.

    Attributes:
      name: what rows and messages call the set: for sets of a `checkpoints/` directory or a
        release the name of the folder and of the release configuration.
      record: what is known of the set. Complete (`record.FIELDS`) for sets of a checkpoints
        directory or a release; a method gives what it knows; often empty for a foreign npz.
      source: the place of the arrays.
      series: the places of the arrays of earlier steps, by step.
    """

    name: str
    record: Mapping[str, Any]
    source: Source = dataclasses.field(repr=False)
    series: Mapping[int, Source] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        record: Mapping[str, Any] = NOTHING,
        name: str = "",
        classes: np.ndarray | None = None,
    ) -> LearnedSet:
        """A set of arrays at hand.

        Args:
          images: (n, H, W, C), preprocessed for the kernel.
          labels: (n, K), centred one-hot or learned.
          record: the facts that are known of the set, such as step, seconds, budget, metrics.
          name: the set's name; default: that in the record, or none.
          classes: int64 (n,), the class that each image stands for, see `classes`.

        Raises:
          UserError: the lengths differ.
        """
        lengths = [len(a) for a in (images, labels, classes) if a is not None]
        if len(set(lengths)) != 1:
            raise UserError(f"images, labels and classes of a set differ in length: {lengths}")
        source = InMemory(Arrays(images, labels, classes))
        return cls(name or record.get("name", ""), record, source)

    @classmethod
    def from_npz(
        cls,
        path: Path,
        image_shape: tuple[int, ...],
        n_classes: int,
        record: Mapping[str, Any] = NOTHING,
    ) -> LearnedSet:
        """A set in an npz of the official keys, called as the file is without its ending.

        Args:
          path, image_shape, n_classes: as in `NpzFile`.
          record: the facts that are known of the set.
        """
        return cls(path.stem, record, NpzFile(path, image_shape, n_classes))

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The arrays, read and checked when first asked for.

        Raises:
          UserError: see `CheckpointFile.read` and `NpzFile.read`.
        """
        return self.source.read()

    @property
    def images(self) -> np.ndarray:
        """(n, H, W, C): kernel inputs, or raw pixels in some foreign files."""
        return self.arrays.images

    @property
    def labels(self) -> np.ndarray:
        """(n, K), one-hot minus 1/K or learned."""
        return self.arrays.labels

    @property
    def classes(self) -> np.ndarray:
        """int64 (n,), the class that each image stands for.

        Where it is not stated, it is the class of the fixed label. Of learned labels it is that of
        the place, images being ordered by class, if the largest label of every image agrees.

        Raises:
          UserError: it is not stated, and the labels do not tell it.
        """
        stated = self.arrays.classes
        if stated is not None:
            return stated
        largest = self.labels.argmax(1)
        if self.has_fixed_labels:
            return largest
        by_place = slot_classes(self.images_per_class, self.n_classes)
        if off := int((largest != by_place).sum()):
            raise UserError(
                f"{self._where} does not say which class each image stands for, and {off} of its "
                f"{len(largest)} labels are not largest at the class of images ordered by class: "
                "add an integer array `classes`"
            )
        return by_place

    @property
    def path(self) -> Path | None:
        """The file with the arrays; None for a set in memory."""
        return self.source.path

    @property
    def n_classes(self) -> int:
        """K."""
        return self.labels.shape[1]

    @property
    def has_fixed_labels(self) -> bool:
        """Whether the labels are one-hot minus 1/K, to 1e-6."""
        return is_centred_one_hot(self.labels)

    @property
    def images_per_class(self) -> int:
        """The number of images for each class.

        Raises:
          UserError: the classes cannot share the images equally.
        """
        n = len(self.images)
        if n % self.n_classes:
            raise UserError(
                f"{self._where}: {n} images cannot be shared equally by {self.n_classes} classes"
            )
        return n // self.n_classes

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
                f"{self._where}: the images {what}, so they look like raw "
                "pixels: save them after preprocessing (evaluate takes raw ones with --raw)"
            )
        return self.images

    @property
    def steps(self) -> list[int]:
        """The earlier steps whose arrays are kept, in order, without the set's own."""
        return sorted(self.series)

    def at_step(self, step: int) -> LearnedSet:
        """The same set at an earlier step, or itself for its own step.

        Its record has that step, the metrics measured there (none, where none were) and the
        digest of its file.

        Raises:
          UserError: no such step is kept.
        """
        if step == self.record.get("step"):
            return self
        if step not in self.series:
            raise UserError(f"{self.name} keeps no step {step}: choose from {self.steps}")
        stated = next((e for e in self.record.get("series", ()) if e["step"] == step), {})
        record = {
            **self.record,
            "step": step,
            "metrics": dict(stated.get("metrics", {})),
            "file_sha256": stated.get("sha256"),
            "series": [],
        }
        return LearnedSet(self.name, record, self.series[step])

    @property
    def _where(self) -> str:
        """What a message calls the set."""
        return str(self.path or self.name or "the learned set")


def slot_classes(images_per_class: int, n_classes: int) -> np.ndarray:
    """The class of each image where they are ordered by class, int64 (n,)."""
    return np.repeat(np.arange(n_classes), images_per_class)
