"""What holds for every method of distillation; `method_suite.CASES` lists them."""

import json
import signal
import subprocess
import sys

import method_suite
import numpy as np
import pytest
from method_suite import CASES, problem

from paper_repro.core import methods
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import KernelSpec
from paper_repro.core.methods import method_of, recorded_by
from paper_repro.core.runs.cell import Cell, cell_of
from paper_repro.core.sets.scoring import score
from paper_repro.core.store import checkpoint

TRAINED = [name for name, case in CASES.items() if case.method.trains]
DRAWN = [name for name, case in CASES.items() if case.draws]
KEPT = [name for name, case in CASES.items() if case.keeps]


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def assert_same(a, b):
    """Two sets have the same bytes, and the same record but for the time."""
    assert a.images.tobytes() == b.images.tobytes()
    assert a.labels.tobytes() == b.labels.tobytes()
    a, b = ({k: v for k, v in one.record.items() if k != "seconds"} for one in (a, b))
    assert a == b


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """name -> (directory, set, calls of progress) of an uninterrupted run, made when asked for."""
    made = {}

    def run(name):
        if name not in made:
            directory, reports = tmp_path_factory.mktemp("whole"), []
            learned = CASES[name].run(directory, progress=lambda *report: reports.append(report))
            made[name] = directory, learned, reports
        return made[name]

    return run


def test_every_method_is_in_the_suite():
    assert {case.method for case in CASES.values()} == set(methods.methods())


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_bytes(name, finished, tmp_path):
    directory, learned, _ = finished(name)
    assert_same(CASES[name].run(tmp_path), learned)
    case = CASES[name]
    if case.keeps:
        path, again = (case.method.final(d, learned.record["step"]) for d in (directory, tmp_path))
        assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("name", DRAWN)
def test_another_seed_gives_another_set(name, finished, tmp_path):
    other = CASES[name].run(tmp_path, method_suite.SEED + 1)
    assert not np.array_equal(other.images, finished(name)[1].images)


@pytest.mark.parametrize("name", KEPT)
def test_the_set_stays_in_the_directory(name, finished):
    directory, learned, _ = finished(name)
    kept = checkpoint.load(CASES[name].method.final(directory, learned.record["step"])).tensors
    assert np.array_equal(kept["images"], learned.images)
    np.testing.assert_allclose(kept["labels"], learned.labels, rtol=1e-6, atol=1e-7)
    for earlier in CASES[name].method.series(directory, learned.record["step"]):
        assert earlier.step < learned.record["step"]
        assert checkpoint.load(earlier.path).tensors["images"].shape == learned.images.shape


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_killed_twice_ends_in_the_same_bytes(name, finished, tmp_path):
    directory, learned, reports = finished(name)
    for calls in (len(reports) // 3, len(reports) // 3):  # the second goes on from the first
        command = [sys.executable, method_suite.__file__, name, tmp_path, calls]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    seen = []
    resumed = CASES[name].run(tmp_path, progress=lambda *report: seen.append(report))
    assert 0 < len(seen) < len(reports)
    assert_same(resumed, learned)
    path, again = (
        CASES[name].method.final(d, learned.record["step"]) for d in (directory, tmp_path)
    )
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("name", TRAINED)
def test_the_directory_of_another_run_is_refused_and_left_alone(name, tmp_path):
    CASES[name].run(tmp_path)
    before = files(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path} holds another run .* choose another --out"):
        CASES[name].run(tmp_path, method_suite.SEED + 1)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", TRAINED)
def test_progress_ends_at_its_total(name, finished):
    _, _, reports = finished(name)
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    assert len({of for _, of, _ in reports}) == 1
    assert reports[-1][0] == reports[-1][1]


@pytest.mark.parametrize("name", CASES)
def test_the_record_says_what_was_spent_and_measured(name, finished):
    _, learned, _ = finished(name)
    record, case = learned.record, CASES[name]
    assert record["step"] is None or record["step"] >= 0
    assert (record["seconds"] is None) != case.method.trains
    assert isinstance(record["budget"], dict)
    json.dumps(record)  # rows hold it
    if record.get("metrics"):
        found = score(learned, problem().test, problem().kernel_fn, case.config.diag_reg)
        metrics = {"test_accuracy": found.accuracy, "test_mse": found.mse, "n_test": found.n}
        assert record["metrics"] == pytest.approx(metrics, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_images_and_labels_fit_the_problem(name, finished):
    _, learned, _ = finished(name)
    case, n_classes = CASES[name], problem().n_classes
    n = case.config.images_per_class * n_classes
    assert learned.images.shape == (n, *problem().x_target.shape[1:])
    assert learned.labels.shape == (n, n_classes)
    assert np.isfinite(learned.images).all() and np.isfinite(learned.labels).all()
    assert learned.has_fixed_labels != case.method.learns_labels(case.config)
    if learned.has_fixed_labels:
        assert learned.classes.tolist() == np.repeat(range(n_classes), n // n_classes).tolist()


@pytest.mark.parametrize("name", DRAWN)
def test_images_are_training_images_unless_they_are_learned(name, finished):
    _, learned, _ = finished(name)
    natural = problem().transform.apply(problem().x_target)
    rows = [np.flatnonzero((natural == image).all((1, 2, 3))) for image in learned.images]
    if CASES[name].method.learns_images:
        assert sum(map(len, rows)) == 0
    else:
        assert len({int(row[0]) for row in rows}) == len(rows)
        assert np.array_equal(problem().labels[[int(row[0]) for row in rows]], learned.classes)


@pytest.mark.parametrize("name", CASES)
def test_a_config_comes_back_from_a_row(name):
    config, method = CASES[name].config, CASES[name].method
    fields = json.loads(json.dumps(method.recorded(config)))
    assert method.from_recorded(fields) == config
    assert None not in fields.values()
    cell = Cell("small", name, config, KernelSpec("FC1"))
    assert recorded_by(cell.recorded) is method is method_of(config)
    again = cell_of(json.loads(json.dumps(cell.recorded)))
    assert again == cell and again.config_hash == cell.config_hash


@pytest.mark.parametrize("method", methods.methods(), ids=lambda method: method.title)
def test_the_names_in_tables_are_its_own(method):
    tags = set()
    for name in method.variants:
        assert methods.has(name) and methods.find(name) is method
        config = method.config(name, 2)
        assert type(config) is method.config_type and config.images_per_class == 2
        tags.add(method.tag(config))
        updates, scored = method.pairs(config, 20, 1_000)
        assert (
            updates >= 0
            and scored >= 0
            and ((updates + scored > 0) == (method.trains and method.uses_kernel))
        )
    assert len(tags) == len(method.variants)


def test_sizes_that_cannot_be_are_refused():
    for method in methods.methods():
        with pytest.raises(UserError, match="images_per_class must be at least 1, not 0"):
            method.config_type(0)
    with pytest.raises(UserError, match=r'unknown method \'DSA\': choose from .*"KIP \(a \+ l\)"'):
        methods.find("DSA")
    with pytest.raises(UserError, match="a row names the procedure 'nothing'"):
        recorded_by({"procedure": "nothing", "method": "X"})
