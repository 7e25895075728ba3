"""What a released version has to be for its reader, over HTTP and with the real clients.

By default the Hub is the loopback one, which is held to it in the manners of other servers too. To
hold another endpoint to the same assertions, as the
Hub itself with a write token (a private repository is made and removed):

    KIP_HUB_CONTRACT=1 HF_ENDPOINT=https://huggingface.co HF_TOKEN=... \\
        python -m pytest tests/release/hub/test_hub_contract.py
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from tiny_release import CONFIG, arrays, make_release, publish_command

from paper_repro.core.errors import UserError
from release.format.manifest import check_files, read_manifest
from release.push import publish as push

ELSEWHERE = os.environ.get("KIP_HUB_CONTRACT") == "1"

LOAD = """
import sys, datasets, numpy as np
repository, config, folder, *revisions = sys.argv[1:]
for revision in revisions:
    rows = datasets.load_dataset(repository, config, revision=revision, split="train")
    rows = rows.with_format("numpy")
    columns = {name: np.asarray(rows[:][name]) for name in rows.column_names}
    np.savez(f"{folder}/{revision}.npz", **columns)
"""


MANNERS = {
    "hub": {},
    "no error codes, LFS in parts": {"error_codes": False, "parts": 1000},
    "64-digit ids, no .gitattributes": {"long_ids": True, "attributes": False},
    "no private repositories": {"private": "none"},
}


@pytest.fixture(params=["hub"] if ELSEWHERE else MANNERS)
def manners(request):
    return MANNERS[request.param]


@pytest.fixture
def public(manners):
    """Whether the repository has to be public, as on a server without private ones."""
    return manners.get("private") == "none"


@pytest.fixture
def api(request, manners, tmp_path, monkeypatch):
    """The endpoint under test: the one of the environment, or the loopback Hub."""
    if ELSEWHERE:
        missing = [name for name in ("HF_ENDPOINT", "HF_TOKEN") if not os.environ.get(name)]
        assert not missing, f"KIP_HUB_CONTRACT=1 needs {' and '.join(missing)}"
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))
    else:
        request.getfixturevalue("hub")
    return HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HF_TOKEN"])


@pytest.fixture
def repository(api):
    """The name of a repository that does not exist yet; what becomes of it is removed."""
    name = f"{api.whoami()['name']}/kip-release-contract-{uuid.uuid4().hex[:8]}"
    yield name
    api.delete_repo(name, repo_type="dataset", missing_ok=True)


def push_process(*arguments):
    command = publish_command(*arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert os.environ["HF_TOKEN"] not in done.stdout + done.stderr
    return done


def loaded(repository, folder, *revisions):
    """The columns of the config at each revision, read in a fresh process."""
    command = [sys.executable, "-c", LOAD, repository, CONFIG, str(folder), *revisions]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for revision in revisions:
        with np.load(folder / f"{revision}.npz") as content:
            yield dict(content)


def downloaded(api, repository, revision, folder):
    options = {"repo_type": "dataset", "endpoint": api.endpoint, "token": api.token}
    return Path(snapshot_download(repository, revision=revision, local_dir=folder, **options))


def same(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        assert found[name].tobytes() == values.tobytes(), name


def test_two_versions_make_the_round_trip(api, repository, public, tmp_path):
    first = make_release(
        tmp_path / "first", "v1.0.0", seed=1, extra="npz/dropped.npz", repository=repository
    )
    second = make_release(tmp_path / "second", "v1.1.0", seed=2, repository=repository)

    assert push(first, repository, create=True) is None
    with pytest.raises(HfHubHTTPError) as missing:
        api.repo_info(repository, repo_type="dataset")
    assert missing.value.response.status_code == 404

    visible = ["--public"] if public else []
    done = push_process(first, "--repo", repository, "--create", "--yes", *visible)
    assert done.returncode == 0, done.stderr
    assert api.repo_info(repository, repo_type="dataset").private != public
    newest = push(second, repository, yes=True)

    refs = api.list_repo_refs(repository, repo_type="dataset")
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    assert set(tags) == {"v1.0.0", "v1.1.0"}
    assert tags["v1.1.0"] == newest != tags["v1.0.0"]
    assert api.repo_info(repository, repo_type="dataset").sha == newest

    for folder, revision in ((first, "v1.0.0"), (second, "v1.1.0")):
        copy = downloaded(api, repository, revision, tmp_path / f"copy-{revision}")
        assert check_files(copy, read_manifest(folder)) == []
        assert (copy / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    for seed, found in enumerate(loaded(repository, tmp_path, "v1.0.0", "v1.1.0"), 1):
        same(found, arrays(seed))

    # Run again: nothing to do. Other files under the same tag: refused.
    assert push(second, repository, yes=True) == newest
    with pytest.raises(UserError, match="never moved"):
        push(first, repository, yes=True, tag="v1.1.0")
    assert api.repo_info(repository, repo_type="dataset").sha == newest


def test_a_large_and_a_small_file_by_name(api, repository, public, tmp_path):
    folder = make_release(tmp_path / "release", repository=repository)
    push(folder, repository, yes=True, create=True, public=public)
    for path in ("README.md", "npz/tiny-ipc1.npz"):
        options = {"repo_type": "dataset", "endpoint": api.endpoint, "token": api.token}
        found = hf_hub_download(
            repository, path, revision="v1.0.0", cache_dir=tmp_path / "cache", **options
        )
        assert Path(found).read_bytes() == (folder / path).read_bytes()


@pytest.mark.skipif(ELSEWHERE, reason="only the loopback Hub damages what it serves")
@pytest.mark.parametrize("path", ["npz/tiny-ipc1.npz", "README.md"])
def test_a_download_damaged_on_its_way_is_noticed(api, repository, public, hub, tmp_path, path):
    folder = make_release(tmp_path / "release", repository=repository)
    push(folder, repository, yes=True, create=True, public=public)
    hub.corrupt.add(path)
    copy = downloaded(api, repository, "v1.0.0", tmp_path / "copy")
    problems = check_files(copy, read_manifest(copy))
    assert problems == [f"{path} has changed: its SHA-256 is not the manifest's"]
