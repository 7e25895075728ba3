"""A Hub on the loopback interface, an account with a token, and a tiny release to push."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import serve_hub
from hub_store import WRITE_TOKEN
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from tiny_release import make_release


@pytest.fixture
def tiny_release(tmp_path):
    return make_release(tmp_path / "release")


@pytest.fixture
def manners():
    """What the running Hub does otherwise than the real one: fields of `hub_store.Manners`."""
    return {}


@pytest.fixture
def hub(manners, tmp_path, monkeypatch):
    """A running Hub that this process and its children talk to, with the write token."""
    home = tmp_path / "hf"
    environment = {
        "HF_HOME": str(home),
        "HF_TOKEN": WRITE_TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in (
        "HF_HUB_OFFLINE",
        "ALL_PROXY",
        "all_proxy",
        "SSL_CERT_FILE",
        "HF_DATASETS_OFFLINE",
        "HF_TOKEN_PATH",
        "HF_OIDC_RESOURCE",
    ):
        monkeypatch.delenv(name, raising=False)
    # The client read these when it was imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    disable_progress_bars()
    with serve_hub(**manners) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running
        huggingface_hub.close_session()
    enable_progress_bars()
    assert running.leaks == []


@pytest.fixture
def no_waiting(monkeypatch):
    """Repetitions of a request follow at once, the client's own and ours."""
    at_once = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time", at_once)
    monkeypatch.setattr("release.hub.client.time", at_once)
