"""Each notebook runs from top to bottom, at a fast setting; what is stored was executed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import release
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import DatasetUnavailable

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MNIST = "mnist-convnet-ipc1-standard-learned-noaug"
FAST = {
    "transfer_convnet": [
        f"SET = {MNIST!r}",
        "WIDTH, STEPS, N_TEST, N_VALIDATION = 8, 10, 200, 100",
    ],
    "browse_release": ["STEPS_SHOWN = 3"],
    "distill_your_own": [
        "TARGETS, STEPS, TARGET_BATCH, N_TEST, OWN_STEPS = 500, 2, 50, 100, 2",
    ],
    "torch_quickstart": [f"SET = {MNIST!r}", "WIDTH, STEPS, N_TEST = 8, 10, 200"],
}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|mnt|opt|var)/")
LARGEST = 2_500_000


@pytest.fixture(scope="module")
def mnist_release(tmp_path_factory):
    """The sets of checkpoints/ that were made from MNIST, and a release of them."""
    try:
        load_dataset("mnist")
    except DatasetUnavailable as error:
        pytest.skip(str(error))
    place = tmp_path_factory.mktemp("notebooks")
    names = sorted(path.name for path in (ROOT / "checkpoints").glob("mnist-*"))
    for name in names:
        shutil.copytree(ROOT / "checkpoints" / name, place / "checkpoints" / name)
    (place / "checkpoints/index.json").write_text(json.dumps({"format": 1, "sets": names}))
    release.build(place / "release", checkpoints=place / "checkpoints")
    return place


def executed(path: Path, lines: list[str]) -> nbformat.NotebookNode:
    """The notebook with `lines` after its parameters, run where a reader runs it."""
    notebook = nbformat.read(path, 4)
    tagged = [
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", ())
    ]
    assert len(tagged) == 1, "a notebook has one cell of parameters"
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    client = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    return client.execute()


def test_there_is_a_fast_setting_for_every_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(FAST)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, mnist_release, tmp_path):
    if path.stem == "torch_quickstart" and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: make torch")
    lines = [f"SOURCE = {str(mnist_release / 'release')!r}"]
    lines += [f"WORK = {str(tmp_path)!r}"]
    lines += [f"CHECKPOINTS = {str(mnist_release / 'checkpoints')!r}", *FAST[path.stem]]
    ran = [cell for cell in executed(path, lines).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_was_executed(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert kinds & {"image/png", "image/jpeg"}
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_small_and_knows_no_machine(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for data in output.get("data", {}).values():
                output.text = output.get("text", "") + (data if isinstance(data, str) else "")
            text = re.sub(r"[A-Za-z0-9+/=\n]{200,}", "", output.get("text", ""))
            assert not MACHINE_PATH.search(text), text[:300]
            assert not re.search(rf"[@/]{re.escape(os.uname().nodename)}\b", text)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_first_cell_finds_or_makes_a_clone_however_often_it_runs(tmp_path):
    """In a folder that is no clone, as on Colab: at first, again, and after a restart."""
    source = tmp_path / "source"
    (source / "paper_repro").mkdir(parents=True)
    (source / "paper_repro/__init__.py").write_text("")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "x"], check=True)
    away = tmp_path / "away"
    away.mkdir()
    for path in NOTEBOOKS:
        cell = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code").source
        cell = cell.split('if importlib.util.find_spec("torch")')[0]
        refused = subprocess.run([sys.executable, "-c", cell], cwd=away, capture_output=True)
        assert b"set CLONE_URL above" in refused.stderr
        cell = cell.replace('CLONE_URL = ""', f"CLONE_URL = {source.as_uri()!r}")
        twice = f"{cell}\n{cell}\nprint(ROOT)"
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", twice], cwd=away, capture_output=True, text=True
            )
            assert done.stdout.strip() == str(away / "repository"), done.stderr
