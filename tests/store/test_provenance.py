import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from result_rows import make_row

from paper_repro.core.store import provenance
from paper_repro.core.store.rows import append_row

ROOT = Path(provenance.__file__).parents[3]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def test_it_fits_into_a_result_row(tmp_path):
    found = provenance.provenance()
    assert set(found) == {"versions", "hardware", "git"}
    append_row(tmp_path / "r.jsonl", make_row(**found, peak_mb=provenance.peak_mb()))


def test_versions_are_those_that_are_installed():
    import numpy

    found = provenance.versions()
    assert found["numpy"] == numpy.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"jax", "jaxlib", "scipy", "optax", "numba", "neural-tangents", "paper_repro"} <= set(
        found
    )


def test_hardware_names_the_processor_and_not_the_machine():
    found = provenance.hardware()
    assert found["cpu"]
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["ram_gb"] > 0
    assert os.uname().nodename not in json.dumps(found)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_cores_are_those_this_process_may_use():
    code = (
        "import os\n"
        "from paper_repro.core.store.provenance import hardware\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(hardware()['cores'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_peak_memory_is_in_mib():
    before = provenance.peak_mb()
    block = bytearray(200 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert 20 < before < 20_000
    assert provenance.peak_mb() >= max(before, 200)


@pytest.fixture
def checkout(tmp_path):
    """A repository that holds a copy of the module, and how to ask it for its state."""
    module = tmp_path / Path(provenance.__file__).relative_to(ROOT)
    module.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, module)
    (tmp_path / "paper_repro" / "__init__.py").write_text("")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "t.jsonl").write_text("")

    def git(*arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(
            ["git", *identity, *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )

    def state(**environment):
        code = (
            f"import json, sys; sys.path.insert(0, {str(module.parent)!r})\n"
            "import provenance; print(json.dumps(provenance.git_state()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
        return json.loads(done.stdout)

    return tmp_path, git, state


@needs_git
def test_dirty_means_changed_source_and_nothing_else(checkout):
    root, git, state = checkout
    assert state() is None
    git("init")
    assert state() is None  # a copy inside a repository that does not track it
    git("add", "-A")
    git("commit", "-m", "x")
    clean = state()
    assert len(clean["revision"]) == 40
    assert clean["dirty"] is False
    (root / "new.txt").write_text("untracked")
    (root / "paper_repro" / "new.py").write_text("untracked")
    (root / "results" / "t.jsonl").write_text("a row\n")
    assert state() == clean
    (root / "paper_repro" / "__init__.py").write_text("x = 1\n")
    assert state() == {"revision": clean["revision"], "dirty": True}


@needs_git
def test_a_hooks_environment_does_not_mislead(checkout):
    _, git, state = checkout
    git("init")
    git("add", "-A")
    git("commit", "-m", "x")
    assert state(GIT_DIR="/nonexistent", GIT_INDEX_FILE="/nonexistent") == state()


def test_without_git_there_is_no_revision(checkout):
    _, _, state = checkout
    assert state(PATH="/nonexistent") is None
