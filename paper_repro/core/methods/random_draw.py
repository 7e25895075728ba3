"""`Random`: natural images with their own labels, what distillation is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.methods.method import FIRST_FIELDS, Method, MethodConfig, Progress
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store import checkpoint

if TYPE_CHECKING:
    from paper_repro.core.methods.problem import Problem


@dataclasses.dataclass(frozen=True)
class RandomConfig(MethodConfig):
    """A class-balanced draw has no settings but its size."""


class Random(Method):
    """A class-balanced draw of training images, ordered by class."""

    procedure = "natural"
    title = "Natural"
    variants: Mapping[str, Mapping[str, Any]] = {"Natural": {}}
    config_type = RandomConfig
    network_procedure = "transfer"
    learns_images = False
    uses_kernel = False
    trains = False
    is_exported = False

    def run(
        self,
        problem: Problem,
        config: RandomConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`."""
        x, labels = natural_images(problem, config.images_per_class, seed)
        y = centred_one_hot(labels, problem.n_classes)
        keep(directory, x, y)
        beside = {"support": None, "krr_accuracy": None}
        record = {
            "step": None,
            "seconds": None,
            "budget": {"reduced": False},
            "beside_network": beside,
        }
        return LearnedSet.of(x, y, record)

    def has_recorded(self, fields: Mapping[str, Any]) -> bool:
        """See `Method.has_recorded`."""
        return super().has_recorded(fields) and "support" not in fields

    def recorded(self, config: RandomConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        return {**super().recorded(config), **FIRST_FIELDS}


def natural_images(
    problem: Problem, images_per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A class-balanced draw of the problem's training images.

    Args:
      problem: the data with their transform.
      images_per_class: how many of each class.
      seed: decides which.

    Returns:
      Kernel inputs (n, H, W, C) of the kernel's dtype and class numbers (n,), ordered by class.
    """
    rows = natural_rows(problem, images_per_class, seed)
    x = problem.transform.apply(problem.x_target[rows], problem.dtype)
    return x, problem.labels[rows]


def natural_rows(problem: Problem, images_per_class: int, seed: int) -> np.ndarray:
    """The row numbers of that draw, int64 (n,)."""
    sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
    return sampler.draw_per_class(images_per_class, generator(seed, Purpose.SUPPORT))


def keep(directory: Path, images: np.ndarray, labels: np.ndarray, **others: np.ndarray) -> None:
    """Write a set, and what else belongs to it, where `Method.final` says, in float32."""
    tensors = {"images": images, "labels": labels, **others}
    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    checkpoint.save(directory / "support.safetensors", tensors, {})
