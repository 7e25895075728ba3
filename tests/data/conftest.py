"""An empty cache, no Hub and a tiny registered data set, for tests that fetch."""

import shutil

import pytest
from huggingface_hub import constants
from tiny_data import make_arrays, make_spec

from paper_repro.core.data.registry import DATASETS

REFUSED = "http://127.0.0.1:9"  # nothing listens there: the connection is refused at once


@pytest.fixture(autouse=True)
def direct_loopback(monkeypatch):
    """Loopback servers are reached without the machine's proxy or offline switches."""
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    directory = tmp_path / "cache"
    monkeypatch.setenv("KIP_CACHE_DIR", str(directory))
    monkeypatch.delenv("KIP_DATA_DIR", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", REFUSED)
    return directory


@pytest.fixture
def tiny(empty_cache, monkeypatch):
    """(spec, arrays) of an official data set called "tiny" that no source has yet."""
    arrays = make_arrays()
    spec = make_spec(arrays)
    monkeypatch.setitem(DATASETS, "tiny", spec)
    return spec, arrays


@pytest.fixture
def needs_npm():
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
