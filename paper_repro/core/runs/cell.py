"""One cell of a table: everything that determines its number except the seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.sets.naming import labels_tag, set_name
from paper_repro.core.store.row_schema import config_hash

Procedure = Literal["kip", "label_solve", "natural", "network", "transfer"]

NOT_NUMBERS = ("test_share", "support_path", "support_budget", "support_record", "krr_accuracy")
"""Fields that change no number: neither recorded nor hashed."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What to run.

    Attributes:
      dataset: name of the data set, for instance `cifar10`.
      images_per_class: size of the support set per class.
      method: as the table calls it, for instance `KIP (a + l)`.
      procedure: which code runs it.
      architecture: `RBF`, `Laplace`, `FC1`, `ConvNet`, ... (`kernels.from_name`).
      kernel: `NTK` or `NNGP` of a network, or the architecture's own name.
      zca: regularised ZCA instead of standard preprocessing.
      learned_labels: the labels are learned too.
      augmentation: of the targets.
      steps, target_batch, patience: see `KIPConfig`.
      initial, learning_rate, diag_reg, flat, support_batch: see `KIPConfig`.
      random_architectures: of which every KIP step draws one; None trains with `architecture`.
      n_train, n_test, image_side: see `Preset`.
      network: settings of a finite network that is trained on the support of the KIP run that
        the other fields describe, or of `support`; None for KRR. See `grid.Settings`.
      support: the set that `transfer` trains on: its `name`, the `sha256` of its file, and the
        `step` of KIP (None for LS); None for natural images.
      support_path: where that file is.
      support_budget: what that set took: `kip_steps` and `kip_target_batch` for KIP, and `reduced`
        if that is less than the paper's.
      support_record: `data_sha256`, `transform_sha256` and `zca` of the record of that set, which
        the data at hand must have; None where they are not comparable.
      krr_accuracy: of that set by its own record; a fraction, not hashed.
      test_share: see `kip.config.evaluation_steps`. It changes no number, so it is not hashed.
    """

    dataset: str
    images_per_class: int
    method: str
    procedure: Procedure
    architecture: str
    kernel: str
    zca: bool = False
    learned_labels: bool = False
    augmentation: Augmentation | None = None
    steps: int | None = None
    target_batch: int | None = None
    patience: int | None = None
    initial: Literal["natural", "noise"] = "natural"
    learning_rate: float = 0.04
    diag_reg: float = 1e-6
    flat: float = 1e-3
    support_batch: int | None = None
    random_architectures: tuple[str, ...] | None = None
    n_train: int | None = None
    n_test: int | None = None
    image_side: int | None = None
    network: dict[str, Any] | None = None
    support: dict[str, Any] | None = None
    support_path: Path | None = None
    support_budget: dict[str, Any] | None = None
    support_record: dict[str, Any] | None = None
    krr_accuracy: float | None = None
    test_share: float | None = None

    @property
    def algorithm(self) -> str:
        """`KRR`, or `NN` for a finite network trained on the support."""
        return "KRR" if self.network is None else "NN"

    @property
    def config(self) -> dict[str, Any]:
        """The fields that a result row records and that its hash covers.

        What is None is left out, so that a field added later leaves old hashes as they are.
        """
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if v is not None and k not in NOT_NUMBERS}

    @property
    def config_hash(self) -> str:
        """Identifies the cell in result files and run directories."""
        return config_hash(self.config)

    @property
    def support_cell(self) -> Cell:
        """The KIP cell whose support this network cell trains on."""
        return dataclasses.replace(self, network=None, procedure="kip")

    @property
    def set_name(self) -> str:
        """The name of the set that the cell learns."""
        solved = self.procedure == "label_solve"
        tag = "ls" if solved else labels_tag(self.learned_labels, self.augmentation is not None)
        place = self.dataset, self.architecture, self.images_per_class
        return set_name(*place, self.zca, tag, self.kernel)

    def __str__(self) -> str:
        what = f"{self.dataset} {self.algorithm} {self.architecture} {self.method}"
        return f"{what} ipc={self.images_per_class}"
