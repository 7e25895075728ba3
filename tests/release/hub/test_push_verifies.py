"""`push` as its users have it: the folder is verified before the Hub is asked anything."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distilled_sets import FIXED, edit_json, listed_again

from release.push import push
from release.verify import ReleaseProblems


def unbalance(folder):
    """One slot of the first class is said to be of the second, in rows and manifest alike."""
    (path,) = (folder / "data" / FIXED).glob("*.parquet")
    table = pq.read_table(path)
    labels = table["label"].to_numpy().copy()
    labels[np.flatnonzero(labels == 0)[0]] = 1
    at = table.column_names.index("label")
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(labels, field.type)), path)
    return listed_again(folder)


def test_a_release_that_does_not_verify_is_not_pushed(hub, copy):
    unbalance(copy)
    for yes in (False, True):
        with pytest.raises(ReleaseProblems, match="as many slots for every class"):
            push(copy, yes=yes, create=True)
    assert hub.asked == []


def test_a_record_that_was_changed_is_not_pushed(hub, copy):
    edit_json(copy / "records" / f"{FIXED}.json", lambda record: record.update(name="other"))
    listed_again(copy)
    with pytest.raises(ReleaseProblems, match=FIXED):
        push(copy, yes=True, create=True)
    assert hub.asked == []


def test_a_variable_that_stops_a_library_is_named_by_verify_too(copy, monkeypatch):
    """In a process: the library reads it when it is imported."""
    monkeypatch.setenv("HF_ENDPOINT", "http://host:port")
    command = [sys.executable, "-m", "release", "verify", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: HF_ENDPOINT has a port") and done.stderr.count("\n") == 1


def test_a_release_that_verifies_is_planned_by_the_command(hub, copy):
    command = [sys.executable, "-m", "release", "push", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"verifying {copy}")
    assert "dry run: nothing was changed" in done.stdout and f"at {hub.endpoint}" in done.stdout
    assert {method for method, _ in hub.asked} == {"GET"}
