"""A wheel holds all that the packages need, and works outside of a clone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_table

ROOT = Path(__file__).resolve().parents[2]


def run(*words, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel, and an empty one."""
    place = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "paper_repro", "release", "pyproject.toml", "README.md", "LICENSE"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a clone of the repository")
    for name in tracked:  # a build beside the sources would leave its folders there
        if (ROOT / name).is_file():
            copy = place / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    pip = ("-m", "pip", "--disable-pip-version-check", "-q")
    build = ("wheel", "--no-deps", "--no-build-isolation", "-w", place / "wheels", ".")
    run(*pip, *build, cwd=place / "source")
    (wheel,) = (place / "wheels").glob("*.whl")
    run(*pip, "install", "--no-deps", "--target", place / "site", wheel, cwd=place)
    (place / "empty").mkdir()
    return place / "site", place / "empty", tracked


def test_it_holds_every_file_of_the_packages(installed):
    site, _, tracked = installed
    packages = [name for name in tracked if name.startswith(("paper_repro/", "release/"))]
    missing = [name for name in packages if (ROOT / name).is_file() and not (site / name).is_file()]
    assert missing == []


def test_commands_run_in_an_empty_directory(installed, tmp_path):
    site, empty, _ = installed
    small_table.write_data(tmp_path / "data")
    with np.load(tmp_path / "data" / "small.npz") as data:
        np.savez(tmp_path / "set.npz", images=data["x_train"][:9], labels=data["y_train"][:9])
    found = run("-c", "import release; print(release.__file__)", cwd=empty, PYTHONPATH=str(site))
    assert Path(found.strip()).is_relative_to(site)
    options = ("--dataset", "small", "--data-dir", tmp_path / "data", "--raw")
    options += ("--architecture", "fc1")
    printed = run(
        *("-m", "paper_repro.evaluate", tmp_path / "set.npz", *options),
        cwd=empty,
        PYTHONPATH=str(site),
    )
    assert "test accuracy" in printed
    assert "Build, verify, push" in run("-m", "release", "-h", cwd=empty, PYTHONPATH=str(site))
    assert list(empty.iterdir()) == []
