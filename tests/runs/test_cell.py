"""Cells and what rows record of them: committed rows and sets describe their cells to the byte."""

import dataclasses
import json
from pathlib import Path

import pytest

from paper_repro import scripts
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods.kip import KIP, KIPConfig
from paper_repro.core.methods.stored import StoredConfig
from paper_repro.core.runs.cell import Cell, DataCut, cell_of, distilling_cell
from paper_repro.core.runs.options import RunOptions, Selection
from paper_repro.core.runs.presets import CONVNET, find_preset
from paper_repro.core.runs.scorers import KRR, FiniteNetwork
from paper_repro.core.sets.catalogue import read_catalogue
from paper_repro.core.store.rows import config_hash, read_rows
from paper_repro.core.tables.cells import matches

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "results").glob("*.jsonl"))
FC1 = KernelSpec("FC1")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_committed_row_is_that_of_its_cell(path):
    rows = read_rows(path, smoke=True)
    assert rows
    for row in rows:
        cell = cell_of(row["config"])
        assert config_hash(row["config"]) == row["config_hash"] == cell.config_hash
        assert json.loads(json.dumps(cell.recorded)) == row["config"]
        # What it is called and whether a network was trained on it, the row alone says.
        assert {name: row[name] for name in cell.row_fields} == cell.row_fields
        assert matches(row, cell.match)
        assert cell_of(cell.recorded) == cell


def test_there_are_rows_of_every_script():
    not_run = {"figure_kip_schedule"}  # its page says so
    assert {path.stem for path in FILES} >= {s.name for s in scripts.scripts()} - not_run


def test_a_committed_set_is_that_of_its_cell():
    for learned in read_catalogue(ROOT / "checkpoints"):
        record, cell = learned.record, cell_of(learned.record["config"])
        assert cell.config_hash == record["config_hash"]
        assert cell.set_name == record["name"]
        shared = {k: v for k, v in cell.row_fields.items() if k in record}
        assert len(shared) == 8 and {name: record[name] for name in shared} == shared
        assert cell.learning_cell == cell and cell.scorer == KRR()


CELLS = {
    "DD": distilling_cell("DD", "mnist", 10, FC1, CONVNET["smoke"]),
    "SLDD": distilling_cell("SLDD", "cifar10", 10, FC1),
    "LD": distilling_cell("LD (ridge)", "mnist", 1, FC1, CONVNET["laptop"]),
    "LS": distilling_cell("LS", "mnist", 1, FC1),
    "every KIP option": Cell(
        *("cifar10", "KIP (l)"),
        KIPConfig(
            *(10, 7, 90, True),
            initial="noise",
            patience=30,
            support_batch=2,
            random_architectures=("FC1", "FC2"),
        ),
        KernelSpec("RBF", "RBF", 0.5, True),
        zca=True,
        cut=DataCut(100, 50, 8),
    ),
    "the laptop recipe": Cell(
        *("mnist", "KIP (l)"),
        KIPConfig(1, 9, 25, learn_labels=True, decay="cosine", final_labels="solve"),
        FC1,
    ),
    "another scorer": Cell(
        *("mnist", "KIP", KIPConfig(1, 2), FC1), KRR(KernelSpec("FC2", "NNGP"), 1e-3)
    ),
    "a network": Cell("mnist", "KIP", KIPConfig(1, 2), FC1, FiniteNetwork({"width": 8})),
    "natural": distilling_cell("Natural", "mnist", 1, FC1, CONVNET["smoke"]),
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_comes_back_from_what_its_row_records(cell):
    recorded = json.loads(json.dumps(cell.recorded))
    again = cell_of(recorded)
    assert again == cell and again.recorded == cell.recorded
    assert again.config_hash == cell.config_hash == config_hash(recorded)
    assert None not in recorded.values()
    row = {**cell.row_fields, "config": recorded}
    assert [name for name, other in CELLS.items() if matches(row, other.match)] == [
        name for name, other in CELLS.items() if other is cell
    ]


def test_everything_that_makes_a_number_is_in_the_hash():
    cell = CELLS["every KIP option"]
    changes = [{"dataset": "svhn"}, {"method": "KIP"}, {"kernel": FC1}, {"zca": False}]
    changes += [{"scorer": KRR(diag_reg=1e-3)}, {"cut": DataCut()}]
    changed = [dataclasses.replace(cell, **change) for change in changes]
    for field in dataclasses.fields(KIPConfig):
        other = {"learn_labels": False, "initial": "natural", "random_architectures": None}
        other |= {"decay": None, "final_labels": None, "restart_at": None}
        other |= {"augmentation": KIP().config("KIP (a)", 1).augmentation}
        value = other.get(field.name, getattr(cell.config, field.name))
        if field.name not in other and field.name != "test_share":
            value = 1 if field.name == "support_batch" else 2 * value
        config = dataclasses.replace(cell.config, **{field.name: value})
        changed.append(dataclasses.replace(cell, config=config))
    recipe = CELLS["the laptop recipe"]
    plain = dataclasses.replace(recipe.config, decay=None, final_labels=None)
    changed += [recipe, dataclasses.replace(recipe, config=plain)]
    restarted = dataclasses.replace(recipe.config, restart_at=4)
    changed.append(dataclasses.replace(recipe, config=restarted))
    for name in ("decay", "final_labels"):
        config = dataclasses.replace(recipe.config, **{name: None})
        changed.append(dataclasses.replace(recipe, config=config))
    hashes = [each.config_hash for each in changed]
    # How often the test set is scored on the way, and the three fields that are None in `cell`.
    assert hashes.count(cell.config_hash) == 4
    assert len(set(hashes)) == len(hashes) - 3


def test_the_cell_of_a_network_learns_in_the_cell_of_krr():
    network = CELLS["a network"]
    assert network.learning_cell == dataclasses.replace(network, scorer=KRR())
    natural = dataclasses.replace(CELLS["natural"], scorer=FiniteNetwork({"width": 8}))
    assert natural.learning_cell == natural and natural.holds_out_validation
    assert not CELLS["natural"].holds_out_validation and not network.holds_out_validation
    assert CELLS["every KIP option"].holds_out_validation


def test_options_and_selections_refuse_what_cannot_be():
    with pytest.raises(UserError, match="unknown preset 'huge': choose one of smoke, laptop"):
        RunOptions("huge")
    with pytest.raises(UserError, match="seeds must not be negative, got -1"):
        RunOptions(seeds=(0, -1))
    cells = list(CELLS.values())
    assert RunOptions(seeds=(4, 2)).seeds_of(CONVNET["gpu"]) == (4, 2)
    assert RunOptions().seeds_of(find_preset("gpu", CONVNET)) == (0, 1, 2)
    assert Selection().choose(cells) == cells
    assert Selection(methods=("KIP", "LS"), ipc=(1,)).choose(cells, ("FC1",), False) == [
        CELLS[name] for name in ("LS", "another scorer", "a network")
    ]
    with pytest.raises(UserError, match="unknown architecture 'FC9' in this table: choose from C"):
        Selection().choose(cells, ("FC9",))
    message = "no cell matches --datasets cifar10 --methods LS: relax one filter"
    with pytest.raises(UserError, match=message):
        Selection(datasets=("cifar10",), methods=("LS",)).choose(cells)
    with pytest.raises(UserError, match="unknown method 'DX'"):
        distilling_cell("DX", "mnist", 1, FC1)


def test_no_seed_changes_what_a_kernel_says_of_a_stored_set():
    stored = Cell("mnist", "As learned", StoredConfig(1), KernelSpec("ConvNet"))
    assert not stored.is_seeded and CELLS["LS"].is_seeded and CELLS["natural"].is_seeded
    assert dataclasses.replace(stored, scorer=FiniteNetwork({"width": 8})).is_seeded
