"""`Stored`: a set that was learned before, in `checkpoints/` or in a file, as a method.

It learns nothing. With it, a cell that trains a finite network on a stored set is a cell like any
other: its config says which set, and its row records that set's digest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.methods.method import FIRST_FIELDS, Method, MethodConfig, Progress
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.preprocess.recorded import require_recorded
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file

if TYPE_CHECKING:
    from paper_repro.core.methods.problem import Problem


@dataclasses.dataclass(frozen=True)
class StoredConfig(MethodConfig):
    """Which set.

    Attributes:
      support: the set's `name`, the `sha256` of its file, and the `step` of its method (None
        without steps), as rows record them.
      learned_labels: the set's labels are learned.
      augmentation: random maps of the training images, when the set was learned.
      is_checked: the data at hand must be those of the set's record; not so where they are cut
        otherwise than they were for the set.
      learned: the set itself; None in a config that was read back from a row.
    """

    support: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learned_labels: bool = False
    augmentation: Augmentation | None = None
    is_checked: bool = dataclasses.field(default=False, compare=False)
    learned: LearnedSet | None = dataclasses.field(default=None, compare=False, repr=False)


class Stored(Method):
    """A set in a file."""

    procedure = "transfer"
    title = "Stored"
    variants: Mapping[str, Mapping[str, Any]] = {}
    config_type = StoredConfig
    option_fields = ()
    uses_kernel = False
    trains = False
    is_exported = False
    is_seeded = False

    def run(
        self,
        problem: Problem,
        config: StoredConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `Method.run`.

        Raises:
          UserError: the file is missing, damaged, not the one that the config names, or of other
            images than the data set's.
        """
        learned, name = config.learned, config.support["name"]
        if learned is None or (learned.path is not None and not learned.path.exists()):
            where = "" if learned is None else f" at {learned.path}"
            raise UserError(f"there is no learned set {name}{where}: export it again")
        if learned.path is not None and sha256_of_file(learned.path) != config.support["sha256"]:
            raise UserError(
                f"{learned.path} is not the file that {name} names: restore or export it again"
            )
        if config.is_checked:
            require_recorded(name, learned.record, problem.dataset, problem.transform)
        x, y = learned.kernel_inputs, learned.labels
        shape = problem.x_target.shape[1:]
        if x.shape[1:] != shape or y.shape != (len(x), problem.n_classes):
            raise UserError(
                f"{learned.path}: images {x.shape} and labels {y.shape} do not fit the data set, "
                f"whose images are {shape}, with {problem.n_classes} classes"
            )
        record = {
            "step": config.support["step"],
            "seconds": None,
            "budget": {},
            "beside_network": {
                "support": dict(config.support),
                "krr_accuracy": learned.record.get("metrics", {}).get("test_accuracy"),
                "support_size": len(x),
                "budget": _spent(learned.record, config.support["step"]),
            },
        }
        return LearnedSet.of(x.astype(np.float32), y, record, learned.name)

    def has_recorded(self, fields: Mapping[str, Any]) -> bool:
        """See `Method.has_recorded`."""
        return super().has_recorded(fields) and "support" in fields

    def recorded(self, config: StoredConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        augmentation = config.augmentation
        fields = {
            **FIRST_FIELDS,
            "images_per_class": config.images_per_class,
            "learned_labels": config.learned_labels,
            "support": dict(config.support),
        }
        if augmentation is not None:
            fields["augmentation"] = dataclasses.asdict(augmentation)
        return fields

    def from_recorded(self, fields: Mapping[str, Any]) -> StoredConfig:
        """See `Method.from_recorded`; the set itself is not in a row."""
        augmentation = fields.get("augmentation")
        return StoredConfig(
            fields["images_per_class"],
            fields["support"],
            fields["learned_labels"],
            None if augmentation is None else Augmentation(**augmentation),
        )

    def learns_labels(self, config: StoredConfig) -> bool:
        """See `Method.learns_labels`."""
        return config.learned_labels

    def augments(self, config: StoredConfig) -> bool:
        """See `Method.augments`."""
        return config.augmentation is not None


def _spent(record: Mapping[str, Any], step: int | None) -> dict[str, Any]:
    """What the set took: KIP steps and target batch, and `reduced` if that is less than published.

    Nothing of a set whose record does not say.
    """
    if "budget" not in record:
        return {}
    spent = record["budget"]
    took = {"kip_steps": step, "kip_target_batch": spent.get("target_batch")}
    if spent.get("reduced", record["preset"] != "paper"):
        took["reduced"] = True
    return {name: value for name, value in took.items() if value is not None}
