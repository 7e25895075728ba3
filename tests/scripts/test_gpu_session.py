"""The session on a card, rehearsed on a CPU: out of time, killed, moved to a bare machine."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_official
from commands import command

from paper_repro import gpu_session
from paper_repro.core.store.rows import read_rows

MOMENTS = ("benchmark 8x8x1 jax", "KRR ConvNet KIP (l)", "NN ConvNet LS to NN")
"""What an item's name holds; the process is killed as it begins the item."""

IN_TORCH = ["DC", "DSA"] if importlib.util.find_spec("torch") is not None else []
"""The methods that are run where PyTorch is installed."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    data = tiny_official.write_sample(tmp_path_factory.mktemp("session") / "data")
    folder = data.parent / "parts"
    done = command(
        gpu_session.main, "--pack", folder, "--data-dir", data, "--datasets", "svhn_mini"
    )
    assert done.returncode == 0 and "svhn_mini.1-of-1.part" in done.stdout
    # Of a set that is still on its way one part is here.
    shutil.copy(folder / "svhn_mini.1-of-1.part", folder / "cifar10.2-of-4.part")
    return folder


def start(parts, out, minutes=8.0):
    words = ["--preset", "smoke", "--minutes", str(minutes), "--data-dir", parts, "--out", out]
    line = [sys.executable, "-m", "paper_repro.gpu_session", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def log(out):
    path = out / "items" / "items.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_out_of_time_killed_three_times_and_complete(parts, tmp_path):
    out = tmp_path / "out"
    # 18 s, of which importing takes its part: it stops by itself.
    begun = time.monotonic()
    process = start(parts, out, minutes=0.3)
    _, errors = process.communicate(timeout=100)
    # A compiler that is interrupted may not survive it, nor does it need to.
    assert process.returncode in (0, -signal.SIGKILL, -signal.SIGSEGV), errors
    assert 0 <= time.monotonic() - begun <= 18 + 10
    for moment in MOMENTS:
        process = start(parts, out)
        for line in process.stderr:
            if moment in line:
                break
        before = log(out)
        process.kill()
        process.wait()
        assert log(out)[: len(before)] == before
        assert not any(moment in entry["item"] for entry in log(out)), moment
    process = start(parts, out)
    printed, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert "cifar10: 1 of 4 parts" in errors
    entries = log(out)
    names = [entry["item"] for entry in entries]
    count = 10 + len(IN_TORCH)
    assert len(names) == len(set(names)) == count and f"{count} items have ended" in printed
    assert {entry["status"] for entry in entries} == {"done"}
    kinds = [name.split()[0] for name in names]
    assert kinds == [*("check",) * 2, *("benchmark",) * 2, *("svhn_mini",) * (6 + len(IN_TORCH))]
    assert all(e["result"]["passed"] for e in entries[:2])
    assert all({"cpu", "gpu"} <= set(e["hardware"]) and "jax" in e["versions"] for e in entries)
    for script, methods in (
        ("table1_comparison", ["LS", "KIP (l)", "KIP", *IN_TORCH]),
        ("table2_transfer", ["KIP to NN", "KIP to NN", "LS to NN"]),
    ):
        rows = read_rows(out / f"{script}.jsonl", smoke=True)
        assert [row["method"] for row in rows if row["status"] == "done"] == methods

    # Only the archive comes back; a bare machine goes on from it.
    archives = list((out / "archive").iterdir())
    assert archives and all(path.stat().st_size < 2**24 for path in archives)
    bare = tmp_path / "bare"
    shutil.copytree(out / "archive", bare / "archive")
    process = start(parts, bare)
    printed, errors = process.communicate(timeout=200)
    assert process.returncode == 0 and f"{count} items have ended" in printed, errors
    assert log(bare) == entries


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0.1"], "leaves no time"),
        (["--minutes", "nan"], "leaves no time"),
        (["--data-dir", "parts"], "JAX sees no card"),
        (["--preset", "smoke"], "--data-dir"),
        (["--pack", "new", "--datasets", "nothing"], "unknown data set 'nothing'"),
    ],
)
def test_mistakes(words, said, parts, tmp_path):
    words = [parts if word == "parts" else word for word in words]
    done = command(gpu_session.main, *words, cwd=tmp_path, KIP_DATA_DIR="")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
