"""A method that is registered in one place has its lines in Table 1, and runs there."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tiny_official
from commands import command, without_pictures

from paper_repro import table1_comparison as table1
from paper_repro.core import methods
from paper_repro.core.errors import UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods import Method, MethodConfig
from paper_repro.core.methods.random_draw import keep
from paper_repro.core.runs.cell import cell_of
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.row_schema import problem_with
from paper_repro.core.store.rows import read_rows
from paper_repro.core.tables import published

SCRIPT = table1.SCRIPT


@dataclasses.dataclass(frozen=True)
class MeansConfig(MethodConfig):
    """How many training images of a class each mean is of."""

    averaged: int = 5


class Means(Method):
    """Means of a few training images of a class each."""

    procedure = "means"
    title = "Means"
    variants: ClassVar = {"Means": {}, "Means (20)": {"averaged": 20}}
    config_type = MeansConfig
    trains = False
    is_exported = False
    is_compared = True

    def run(self, problem, config, seed, directory, progress=None):
        """See `Method.run`."""
        rng, images = np.random.default_rng(seed), []
        classes = np.repeat(np.arange(problem.n_classes), config.images_per_class)
        for label in classes:
            rows = rng.choice(np.flatnonzero(problem.labels == label), config.averaged)
            x = problem.transform.apply(problem.x_target[rows], problem.dtype)
            images.append(x.mean(0))
        labels = centred_one_hot(classes, problem.n_classes)
        keep(directory, np.stack(images), labels)
        record = {"step": None, "seconds": None, "budget": {"averaged": config.averaged}}
        return LearnedSet.of(np.stack(images), labels, record)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(output directory, finished command) of Table 1 with the method, on a sample of SVHN."""
    base = tmp_path_factory.mktemp("means")
    data = tiny_official.write_sample(base / "data")
    arguments = ("--preset", "smoke", "--datasets", "svhn", "--ipc", "1", "--data-dir", data)
    chosen = ("--methods", *Means.variants, "LS", "--zca", True, "--seeds", 0, 1)
    with methods.registered(Means()), without_pictures():
        return base / "out", command(table1.main, *arguments, *chosen, "--out", base / "out")


@pytest.fixture
def registered():
    with methods.registered(Means()) as method:
        yield method


def test_its_rows_are_complete_and_name_its_cell(ran, registered):
    out, done = ran
    assert done.returncode == 0, done.stderr
    rows = read_rows(out / f"{SCRIPT}.jsonl", smoke=True)
    assert [row["method"] for row in rows] == 2 * ["LS", *Means.variants]
    for row in rows:
        assert problem_with(row) is None
        assert (row["status"], row["dataset"], row["n_test"]) == ("done", "svhn_mini", 60)
        assert cell_of(row["config"]).config_hash == row["config_hash"]
    budgets = [row["budget"] for row in rows if row["method"].startswith("Means")]
    assert budgets == 2 * [{"averaged": 5}, {"averaged": 20}]
    assert rows[1]["test_accuracy"] != rows[4]["test_accuracy"]  # the seeds


def test_it_has_a_line_in_the_table_of_every_size(ran, registered):
    out, done = ran
    rows = read_rows(out / f"{SCRIPT}.jsonl", smoke=True)
    cells = table1.table(rows).cells
    sizes = {(cell.dataset, cell.images_per_class) for cell in published.table1()}
    assert len(cells) == len(published.table1()) + len(Means.variants) * len(sizes)
    for name in Means.variants:
        lines = [cell for cell in cells if cell.label["Method"] == name]
        assert len(lines) == len(sizes) == 14
        (filled,) = [cell for cell in lines if cell.ours is not None]
        assert filled.label["Data set"] == "SVHN (small sample)"
        found = [row["test_accuracy"] for row in rows if row["method"] == name]
        assert filled.ours.mean == pytest.approx(100 * np.mean(found))
        assert filled.verdict == "no published figure"
        text = (out / f"{SCRIPT}.md").read_text()
        (line,) = [each for each in text.splitlines() if f"(small sample) | 1 | {name} |" in each]
        assert f"{filled.ours.mean:.1f}" in line and "(n = 2)" in line
        printed = [each for each in done.stdout.splitlines() if f"  {name}  " in each]
        assert any(f"{filled.ours.mean:.1f}" in each for each in printed)


def test_its_lines_stand_after_those_of_the_paper_of_the_same_size(registered):
    groups = {}
    for cell in table1.table([]).cells:
        size = cell.label["Data set"], cell.label["Images per class"]
        groups.setdefault(size, []).append(cell.label["Method"])
    assert len(groups) == 14
    for names in groups.values():
        assert names[-2:] == list(Means.variants) and not set(names[:-2]) & set(Means.variants)


def test_it_is_run_for_every_size_when_nothing_is_chosen(registered):
    cells = [c for c in table1.cells(table1.PRESETS["laptop"]) if c.method == "Means"]
    assert len({(cell.dataset, cell.images_per_class) for cell in cells}) == len(cells) == 14
    assert {c.dataset for c in cells if not c.zca} == {"mnist", "fashion_mnist"}


def test_rows_of_a_method_that_is_not_registered_are_named(tmp_path):
    assert not methods.has("Means")
    assert len(table1.table([]).cells) == len(published.table1())
    done = command(table1.main, "--methods", "Means", "--out", tmp_path)
    assert done.returncode == 2 and "unknown method 'Means' in this table" in done.stderr
    with pytest.raises(UserError, match="the procedure 'means', which this version does not have"):
        cell_of({"procedure": "means", "method": "Means"})
