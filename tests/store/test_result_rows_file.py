import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import result_rows
from result_rows import make_row

from paper_repro.core.errors import UserError
from paper_repro.core.store.rows import ROW_FIELDS, append_row, finished, read_rows

HELPERS = os.path.dirname(result_rows.__file__)


def python(code, *arguments, **how):
    path = os.pathsep.join([HELPERS, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        **how,
    )


def test_rows_come_back_as_written_with_extra_keys(tmp_path):
    path = tmp_path / "deep" / "table.jsonl"
    rows = [make_row(seed=s, width=1024, note="±0,1 — ünïcode\n") for s in range(3)]
    for row in rows:
        assert append_row(path, row) == row
    assert read_rows(path) == rows
    assert path.read_bytes().count(b"\n") == 3


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "none.jsonl") == []


def test_numpy_scalars_and_tuples_are_stored_as_json(tmp_path):
    row = make_row(test_accuracy=np.float64(0.5), n_test=np.int64(10), budget={"widths": (1, 2)})
    append_row(tmp_path / "r.jsonl", row)
    (back,) = read_rows(tmp_path / "r.jsonl")
    assert (back["test_accuracy"], back["n_test"], back["budget"]) == (0.5, 10, {"widths": [1, 2]})


def test_a_second_done_row_of_a_seed_is_not_written(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, make_row(status="interrupted", test_accuracy=None))
    first = append_row(path, make_row(test_accuracy=0.4))
    assert append_row(path, make_row(test_accuracy=0.9, table="another")) == first
    append_row(path, make_row(seed=1))
    append_row(path, make_row(status="failed", test_accuracy=None, seed=2))
    rows = read_rows(path)
    assert [r["status"] for r in rows] == ["interrupted", "done", "done", "failed"]
    assert finished(rows, first["config_hash"], 0) == first
    assert finished(rows, first["config_hash"], 2) is None
    assert finished(rows, "0" * 16, 0) is None


def test_any_prefix_of_a_file_reads_back_whole_rows_and_can_be_appended_to(tmp_path):
    path, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    for seed in range(2):
        append_row(path, make_row(seed=seed))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for end in [*range(0, 40), *range(first - 3, first + 40), len(content) - 1, len(content)]:
        cut.write_bytes(content[:end])
        whole = (end >= first - 1) + (end >= len(content) - 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert [r["seed"] for r in read_rows(cut)] == list(range(whole))
        half = end not in (0, first - 1, first, len(content) - 1, len(content))
        assert bool(caught) == half, end
        append_row(cut, make_row(seed=9))
        assert [r["seed"] for r in read_rows(cut)] == [*range(whole), 9]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"table": "x"}', b"\xff\xfe", b"null", b'{"a": NaN}']
)
def test_a_corrupted_line_is_refused_by_file_and_number(tmp_path, line):
    path = tmp_path / "r.jsonl"
    append_row(path, make_row())
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    with pytest.raises(UserError, match=r"r\.jsonl, line 2"):
        read_rows(path)


def test_a_row_edited_by_hand_is_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, make_row())
    path.write_text(path.read_text().replace("0.393", "39.3"))
    with pytest.raises(UserError, match=r"line 1.*test_accuracy is 39\.3"):
        read_rows(path)
    path.write_text(path.read_text().replace("39.3", "0.393").replace('"steps": 3}', '"steps": 4}'))
    with pytest.raises(UserError, match="config_hash"):
        read_rows(path)


@pytest.mark.parametrize("name", ROW_FIELDS)
def test_every_field_is_required(tmp_path, name):
    row = make_row()
    del row[name]
    with pytest.raises(UserError, match=name):
        append_row(tmp_path / "r.jsonl", row)
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"test_accuracy": 39.3},
        {"test_accuracy": float("nan")},
        {"test_accuracy": None},
        {"test_accuracy": True},
        {"test_mse": -1.0},
        {"n_test": None},
        {"n_test": 0},
        {"status": "finished"},
        {"algorithm": "SVM"},
        {"preset": "huge"},
        {"seed": -1},
        {"seed": 1.5},
        {"zca": 1},
        {"images_per_class": 0},
        {"config_hash": "0" * 16},
        {"budget": [1]},
        {"started": None},
        {"hardware": {"gpu": object()}},
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_refused(tmp_path, changes):
    with pytest.raises(UserError, match=r"r\.jsonl"):
        append_row(tmp_path / "r.jsonl", make_row(**changes))
    assert not (tmp_path / "r.jsonl").exists()


def test_a_failure_that_repeats_the_last_one_of_its_run_is_one_row(tmp_path):
    path = tmp_path / "r.jsonl"

    def failed(reason, **changes):
        row = make_row(status="failed", test_accuracy=None, reason=reason, **changes)
        return append_row(path, row)

    first = failed("step 3")
    assert failed("step 3", seconds=1.0) == first
    failed("step 3", seed=1)
    failed("step 4")
    failed("step 3")
    append_row(path, make_row(status="interrupted", test_accuracy=None))
    failed("step 3")
    reasons = [(r["seed"], r.get("reason")) for r in read_rows(path)]
    assert reasons == [
        *((0, "step 3"), (1, "step 3"), (0, "step 4"), (0, "step 3")),
        *((0, None), (0, "step 3")),
    ]


def test_concurrent_writers_lose_nothing_and_finish_a_seed_once(tmp_path):
    path = tmp_path / "r.jsonl"
    code = """
        import sys
        from result_rows import make_row
        from paper_repro.core.store.rows import append_row
        for seed in range(12):
            append_row(sys.argv[1], make_row(seed=seed, writer=sys.argv[2]))
            append_row(sys.argv[1], make_row(seed=seed, status="failed", test_accuracy=None))
    """
    writers = [python(code, path, i) for i in range(3)]
    assert [w.wait(timeout=60) for w in writers] == [0, 0, 0]
    rows = read_rows(path)
    assert sorted(r["seed"] for r in rows if r["status"] == "done") == list(range(12))
    assert sum(r["status"] == "failed" for r in rows) == 36


def test_a_writer_waits_for_the_one_before_it(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "r.jsonl"
    append_row(path, make_row())
    code = """
        import sys
        from result_rows import make_row
        from paper_repro.core.store.rows import append_row
        print("ready", flush=True)
        append_row(sys.argv[1], make_row(seed=1))
    """
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = python(code, path, stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=0.5)
        assert len(read_rows(path)) == 1
    assert writer.wait(timeout=30) == 0
    writer.stdout.close()
    assert len(read_rows(path)) == 2


def test_a_killed_writer_leaves_a_file_that_reads_and_grows(tmp_path):
    path = tmp_path / "r.jsonl"
    code = """
        import sys
        from result_rows import make_row
        from paper_repro.core.store.rows import append_row
        for seed in range(100_000):
            append_row(sys.argv[1], make_row(seed=seed, status="failed", ballast="x" * 100_000))
    """
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        writer = python(code, path)
        deadline = time.monotonic() + 30
        while (path.stat().st_size if path.exists() else 0) < before + 300_000:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = len(read_rows(path))
        append_row(path, make_row(seed=0, status="interrupted", test_accuracy=None))
        assert len(read_rows(path)) == kept + 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_a_disk_that_fills_up_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, make_row())
    before = path.read_bytes()
    code = """
        import resource, sys
        from pathlib import Path
        from result_rows import make_row
        from paper_repro.core.store.rows import append_row
        size = Path(sys.argv[1]).stat().st_size + 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            append_row(sys.argv[1], make_row(seed=1))
        except OSError as error:
            assert error.filename == sys.argv[1], error
        else:
            raise SystemExit(3)
    """
    assert python(code, path).wait(timeout=30) == 0
    assert path.read_bytes() == before


def test_rows_are_one_json_object_a_line_for_other_tools(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, make_row())
    assert set(ROW_FIELDS) <= set(json.loads(path.read_text()))
