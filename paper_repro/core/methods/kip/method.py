"""KIP as a method: its names in tables, what it records, and the files of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.methods.kip.config import TEST_SHARE, KIPConfig, official_steps
from paper_repro.core.methods.kip.log import METRICS, solved_path, support_path
from paper_repro.core.methods.method import Kept, Method, Pairs, Progress
from paper_repro.core.methods.problem import Problem, seconds_per_entry
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.naming import labels_tag
from paper_repro.core.store.json_lines import JsonLines

if TYPE_CHECKING:
    from paper_repro.core.methods.kip import training
else:
    training = lazy.module("paper_repro.core.methods.kip.training")


_BESIDE = 1 + 1.5 * TEST_SHARE
"""What a run takes beside its updates, as a factor: scoring the test set along the way, saving."""


class KIP(Method):
    """Support images, and if asked their labels, learned by gradient descent through a kernel."""

    procedure = "kip"
    network_procedure = "network"
    title = "KIP"
    summary = "a few learned images (Kernel Inducing Points, KIP)"
    papers = ("2107.13034", "2011.00050")
    variants: Mapping[str, Mapping[str, Any]] = {
        "KIP": {},
        "KIP (l)": {"learn_labels": True},
        "KIP (a)": {"augmentation": Augmentation()},
        "KIP (a + l)": {"learn_labels": True, "augmentation": Augmentation()},
    }
    config_type = KIPConfig
    budget_fields = ("steps", "target_batch", "patience", "decay", "restart_at", "final_labels")

    def run(
        self,
        problem: Problem,
        config: KIPConfig,
        seed: int,
        directory: Path,
        progress: Progress | None = None,
    ) -> LearnedSet:
        """See `training.run`."""
        return training.run(problem, config, seed, directory, progress)

    def first_part(self, config: KIPConfig) -> KIPConfig | None:
        """See `Method.first_part`: up to where the learning rate starts again."""
        return config.first_cycle

    def take_over(
        self, problem: Problem, config: KIPConfig, seed: int, earlier: Path, directory: Path
    ) -> None:
        """See `training.take_over`."""
        training.take_over(problem, config, seed, earlier, directory)

    def config(self, variant: str, images_per_class: int, budget: object = None) -> KIPConfig:
        """See `Method.config`; tables score the test set now and then (`TEST_SHARE`).

        What a budget says of the labels at the end is for the variants that learn them.
        """
        if not self.variants[variant].get("learn_labels"):
            budget = None if budget is None else dataclasses.replace(budget, final_labels=None)
        found = super().config(variant, images_per_class, budget)
        return dataclasses.replace(found, test_share=TEST_SHARE)

    def recorded(self, config: KIPConfig) -> dict[str, Any]:
        """See `Method.recorded`."""
        fields = super().recorded(config)
        fields.pop("test_share", None)
        learned = fields.pop("learn_labels")
        return {**fields, "learned_labels": learned}

    def from_recorded(self, fields: Mapping[str, Any]) -> KIPConfig:
        """See `Method.from_recorded`."""
        fields = {**fields, "learn_labels": fields["learned_labels"]}
        if fields.get("augmentation") is not None:
            fields["augmentation"] = Augmentation(**fields["augmentation"])
        if fields.get("random_architectures") is not None:
            fields["random_architectures"] = tuple(fields["random_architectures"])
        return super().from_recorded(fields)

    def tag(self, config: KIPConfig) -> str:
        """See `Method.tag`."""
        return labels_tag(config.learn_labels, config.augmentation is not None)

    def learns_labels(self, config: KIPConfig) -> bool:
        """See `Method.learns_labels`."""
        return config.learn_labels

    def augments(self, config: KIPConfig) -> bool:
        """See `Method.augments`."""
        return config.augmentation is not None

    def holds_out(self, config: KIPConfig) -> bool:
        """See `Method.holds_out`."""
        return config.patience is not None

    def pairs(self, config: KIPConfig, n_support: int, n_train: int) -> Pairs:
        """See `Method.pairs`."""
        return Pairs(updates=config.steps * n_support * (n_support + config.target_batch))

    def within(self, problem: Problem, config: KIPConfig, seconds: float) -> KIPConfig:
        """See `Method.within`: as many steps as fit."""
        if config.final_labels is not None:
            n_support = config.images_per_class * problem.n_classes
            seconds -= seconds_per_entry(problem) * n_support * len(problem.labels)

        def fitting(steps: int) -> int:
            timed = dataclasses.replace(config, steps=steps)
            return max(1, int(seconds / (_BESIDE * training.seconds_of_step(problem, timed))))

        steps = fitting(1)  # a short run prepares the targets of every step
        if steps * config.target_batch >= len(problem.labels):
            steps = fitting(steps)
        return dataclasses.replace(config, steps=steps)

    def work(self, config: KIPConfig) -> int:
        """See `Method.work`."""
        return config.steps * config.target_batch

    def alternatives(self, config: KIPConfig) -> tuple[str, ...]:
        """See `Method.alternatives`."""
        return config.random_architectures or ()

    def published_budget(self, n_train: int) -> str:
        """See `Method.published_budget`."""
        return "target batch 5,000, to convergence"

    def final(self, directory: Path, step: int | None) -> Path:
        """See `Method.final`."""
        solved = solved_path(directory)
        return solved if solved.exists() else support_path(directory, step)

    def series(self, directory: Path, last: int | None) -> list[Kept]:
        """See `Method.series`: the official steps."""
        measured = {entry["step"]: entry for entry in JsonLines(directory / METRICS).entries}
        kept = []
        for step in official_steps(last):
            path = support_path(directory, step)
            if step == last or not path.exists():
                continue
            entry = measured.get(step, {})
            names = ("test_accuracy", "test_mse", "seconds")
            kept.append(Kept(step, path, {n: entry[n] for n in names if n in entry}))
        return kept

    def curve(self, directory: Path) -> list[tuple[float, float]]:
        """See `Method.curve`: at the official steps."""
        entries = JsonLines(directory / METRICS).entries
        return [(entry["step"], 100 * entry["test_accuracy"]) for entry in entries]
