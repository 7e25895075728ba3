"""`Rebuilt`: a stored set whose images are projected on a subspace of the training images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import Method, Progress
from paper_repro.core.methods.stored import Stored, StoredConfig
from paper_repro.core.preprocess.subspaces import Moments, Subspace, discriminant, principal
from paper_repro.core.sets.learned_set import LearnedSet

if TYPE_CHECKING:
    from paper_repro.core.methods.problem import Problem

BASES: Mapping[str, Callable[[Moments, int], Subspace]] = MappingProxyType(
    {"pca": principal, "lda_pca": discriminant}
)


@dataclasses.dataclass(frozen=True)
class RebuiltConfig(StoredConfig):
    """Which set, and on what it is projected.

    Attributes:
      basis: principal components (`pca`), or discriminants and principal components (`lda_pca`).
      components: dimensions of the subspace.

    Raises:
      UserError: an unknown basis.
    """

    basis: Literal["pca", "lda_pca"] = "pca"
    components: int = 9

    @classmethod
    def of(cls, stored: StoredConfig, basis: str, components: int) -> RebuiltConfig:
        """The config that projects a stored set."""
        fields = {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}
        return cls(**fields, basis=basis, components=components)

    def __post_init__(self):
        super().__post_init__()
        if self.basis not in BASES:
            raise UserError(f"unknown basis {self.basis!r}: choose from {', '.join(BASES)}")


class Rebuilt(Stored):
    """What a few components keep of a learned set; its labels stay as they are."""

    procedure = "rebuilt"
    network_procedure = None
    title = "Rebuilt"
    config_type = RebuiltConfig

    def run(
        self,
        problem: Problem,
        config: RebuiltConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run` and `Stored.run`; the row has the errors of the projection too.

        `reconstruction_error` is the share of the images' squared distance from the mean that is
        lost, `natural_error` that of the training images.

        Raises:
          UserError: see `Stored.run`; more components than there are dimensions.
        """
        learned = super().run(problem, config, seed, directory, progress)
        moments = _moments(_Source(problem.identity({}, 0), problem))
        subspace = BASES[config.basis](moments, config.components)
        images = np.asarray(learned.images, np.float64)
        errors = {
            "reconstruction_error": subspace.error(images),
            "natural_error": subspace.expected_error(moments),
        }
        made = subspace.rebuilt(images).astype(np.float32)
        record = {**learned.record, "extra": errors}
        return LearnedSet.of(made, learned.labels, record, learned.name)

    def recorded(self, config: RebuiltConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        return {
            **super().recorded(config),
            "basis": config.basis,
            "components": config.components,
        }

    def from_recorded(self, fields: Mapping[str, Any]) -> RebuiltConfig:
        """See `Method.from_recorded`; the set itself is not in a row."""
        stored = super().from_recorded(fields)
        return RebuiltConfig.of(stored, fields["basis"], fields["components"])

    has_recorded = Method.has_recorded


@dataclasses.dataclass(frozen=True)
class _Source:
    """A problem that is known by its digest."""

    identity: str
    problem: Problem = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=1)
def _moments(source: _Source) -> Moments:
    """The moments of the training images, kept for the next set of the same data."""
    problem = source.problem
    x = problem.transform.apply(problem.x_target, np.float32)
    return Moments.of(x, problem.labels, problem.n_classes)
