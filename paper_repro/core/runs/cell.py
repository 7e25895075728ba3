"""One cell of a table: everything that determines its number except the seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from paper_repro.core import methods
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods import Method, MethodConfig
from paper_repro.core.network.pytorch.spec import Evaluation, UnrolledEvaluation
from paper_repro.core.runs.scorers import KRR, FiniteNetwork, PublishedNetworks, Scorer
from paper_repro.core.runs.unrolled_scorer import UnrolledNetworks
from paper_repro.core.sets.naming import set_name
from paper_repro.core.store.row_schema import config_hash

_KRR = KRR()


@dataclasses.dataclass(frozen=True)
class DataCut:
    """How much of a data set is used; None for all of it.

    Attributes:
      n_train: the first so many training images.
      n_test: the first so many test images.
      image_side: images are average-pooled to this side.
    """

    n_train: int | None = None
    n_test: int | None = None
    image_side: int | None = None

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> DataCut:
        """The cut of a row's `config`."""
        return cls(*(recorded.get(field.name) for field in dataclasses.fields(cls)))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self == DataCut()


@dataclasses.dataclass(frozen=True)
class Cell:
    """What to run.

    Attributes:
      dataset: name of the data set, for instance `cifar10`.
      method: the method's name in tables, for instance `KIP (a + l)`.
      config: the method's settings; their type says which method runs.
      kernel: the kernel that the method learns through, which scores its sets as well if the
        scorer names no other.
      scorer: what gives the test accuracy.
      zca: regularised ZCA instead of standard preprocessing.
      cut: how much of the data is used.

    Example:
      >>> cell = distilling_cell("KIP (l)", "mnist", 1, KernelSpec("ConvNet"))
      >>> str(cell), cell.config.target_batch
      ('mnist KRR ConvNet KIP (l) ipc=1', 5000)
    """

    dataset: str
    method: str
    config: MethodConfig
    kernel: KernelSpec
    scorer: Scorer = _KRR
    zca: bool = False
    cut: DataCut = DataCut()

    @property
    def images_per_class(self) -> int:
        """Size of the support set per class."""
        return self.config.images_per_class

    @property
    def method_object(self) -> Method:
        """The method that runs."""
        return methods.method_of(self.config)

    @property
    def architecture(self) -> str:
        """As rows name it: `RBF`, `FC1`, `ConvNet`, ..."""
        return self.kernel.architecture

    @property
    def learned_labels(self) -> bool:
        """Whether the labels of the set are learned."""
        return self.method_object.learns_labels(self.config)

    @property
    def holds_out_validation(self) -> bool:
        """Whether the validation images stay out of the training images.

        They do where they choose a checkpoint, and where they choose the settings of a network
        that is trained on images drawn here.
        """
        draws = isinstance(self.scorer, FiniteNetwork) and not self.method_object.trains
        return draws or self.method_object.holds_out(self.config)

    @property
    def evaluates_kernel(self) -> bool:
        """Whether its run or its score computes kernel entries."""
        return self.scorer.uses_kernel or self.method_object.uses_kernel

    @property
    def is_seeded(self) -> bool:
        """Whether the seed decides anything: not where a kernel scores a stored set."""
        return self.method_object.is_seeded or not isinstance(self.scorer, KRR)

    @property
    def learning_cell(self) -> Cell:
        """The cell that makes this one's set, which tables share: itself, if KRR scores it."""
        return dataclasses.replace(self, scorer=KRR()) if self.method_object.trains else self

    @property
    def set_name(self) -> str:
        """The name of the set that the cell learns."""
        tag = self.method_object.tag(self.config)
        place = self.dataset, self.architecture, self.images_per_class
        return set_name(*place, self.zca, tag, self.kernel.kernel)

    @property
    def recorded(self) -> dict[str, Any]:
        """The configuration that a result row records and that its hash covers.

        What is None is left out, so that a field added later leaves old hashes as they are.
        """
        method = self.method_object
        procedure = method.procedure
        if isinstance(self.scorer, FiniteNetwork) and method.network_procedure is not None:
            procedure = method.network_procedure
        fields = {
            "dataset": self.dataset,
            "method": self.method,
            "procedure": procedure,
            "architecture": self.kernel.architecture,
            "kernel": self.kernel.kernel,
            "scale": self.kernel.scale,
            "learn_scale": self.kernel.learn_scale or None,
            "zca": self.zca,
            **method.recorded(self.config),
            **dataclasses.asdict(self.cut),
            **self.scorer.recorded,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def config_hash(self) -> str:
        """Identifies the cell in result files and run directories."""
        return config_hash(self.recorded)

    @property
    def row_fields(self) -> dict[str, Any]:
        """The fields of a result row that say which cell it is of."""
        return {
            "dataset": self.dataset,
            "images_per_class": self.images_per_class,
            "method": self.method,
            "algorithm": self.scorer.algorithm,
            "architecture": self.kernel.architecture,
            "kernel": self.kernel.kernel,
            "zca": self.zca,
            "learned_labels": self.learned_labels,
            "augmentation": self.method_object.augments(self.config),
            **self.scorer.row_fields,
        }

    @property
    def match(self) -> dict[str, Any]:
        """What the rows of a line of a table have, whatever they spent (`tables.cells.matches`).

        The row fields of the cell, and its options; presets, steps, batches and finite networks
        may differ.
        """
        recorded = json.loads(json.dumps(self.recorded))  # tuples are lists in rows
        asked = self.method_object.asked_fields(self.method)
        options = ("scale", "learn_scale", "scored_by", *asked)
        return {
            **self.row_fields,
            **{f"config.{name}": [recorded.get(name)] for name in options},
            **self.scorer.match,
        }

    def __str__(self) -> str:
        what = f"{self.dataset} {self.scorer.algorithm} {self.architecture} {self.method}"
        return f"{what} ipc={self.images_per_class}"


def distilling_cell(
    method: str,
    dataset: str,
    images_per_class: int,
    kernel: KernelSpec,
    budget: Any = None,
    *,
    zca: bool = False,
) -> Cell:
    """The cell that distils `dataset` by `method`, scored as the method's paper does.

    That is KRR with the same kernel, or networks that are trained on the set; the cells of such a
    method are the same whatever the kernel.

    Args:
      method: a name in tables that the registry has.
      dataset: name of the data set.
      images_per_class: size of the support set per class.
      kernel: the kernel.
      budget: a `Preset`; None for the published budget.
      zca: regularised ZCA instead of standard preprocessing, for a method that takes it.

    Raises:
      UserError: unknown method.
    """
    found = methods.find(method)
    config = found.config(method, images_per_class, budget)
    cut = DataCut() if budget is None else budget.cut
    scorer = _scorer(found.evaluation(config, dataset), budget)
    if not (scorer.uses_kernel or found.uses_kernel):
        kernel = KernelSpec("ConvNet")  # of the set's name, and of a cell that shares the set
    return Cell(dataset, method, config, kernel, scorer, zca and found.whitens, cut)


def _scorer(evaluation: Evaluation | UnrolledEvaluation | None, budget: Any) -> Scorer:
    """What carries out a paper's evaluation at a budget."""
    if evaluation is None:
        return _KRR
    if isinstance(evaluation, UnrolledEvaluation):
        return UnrolledNetworks.within(evaluation, budget)
    return PublishedNetworks.within(evaluation, budget)


def cell_of(recorded: Mapping[str, Any]) -> Cell:
    """The cell that a row's configuration describes: `cell_of(cell.recorded) == cell`.

    Rows do not record the `test_share` of KIP and the arrays of a stored set: they are defaults.

    Raises:
      UserError: a procedure that this version does not have.
    """
    network, method = recorded.get("network"), methods.recorded_by(recorded)
    kernel = KernelSpec(
        recorded["architecture"],
        recorded["kernel"],
        recorded.get("scale"),
        recorded.get("learn_scale", False),
    )
    scorer = KRR.from_recorded(recorded) if network is None else FiniteNetwork(network)
    if (evaluation := recorded.get("evaluation")) is not None:
        scorer = PublishedNetworks(Evaluation.from_recorded(evaluation))
    if (unrolled := recorded.get("unrolled")) is not None:
        scorer = UnrolledNetworks(UnrolledEvaluation.from_recorded(unrolled))
    cut = DataCut.from_recorded(recorded)
    config = method.from_recorded(recorded)
    dataset, name = recorded["dataset"], recorded["method"]
    return Cell(dataset, name, config, kernel, scorer, recorded["zca"], cut)
