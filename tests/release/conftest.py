"""One release of a small data set of its own, built once a worker; tests get it or a copy."""

from pathlib import Path
from shutil import copytree

import pytest
from distilled_sets import Made, make


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("distilled-sets"))


@pytest.fixture
def made(built, monkeypatch) -> Made:
    """Folders that tests never change. Fits of the data set stay out of the user's cache."""
    monkeypatch.setenv("KIP_CACHE_DIR", str(built.data_dir.parent / "cache"))
    return built


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of the release to damage."""
    return Path(copytree(made.folder, tmp_path / "release"))


@pytest.fixture
def checkpoints(made, tmp_path) -> Path:
    """A copy of the checkpoints to damage."""
    return Path(copytree(made.checkpoints, tmp_path / "checkpoints"))
