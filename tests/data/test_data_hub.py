"""The Hub: what `datasets` makes of it, and how soon an unreachable one is given up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import REVISION, black_hole, fake_hub, serve
from tiny_data import make_arrays, make_spec, permuted, write_parquet

from paper_repro.core.data.arrays import combined_digest
from paper_repro.core.data.hub import probe
from paper_repro.core.data.registry import HubSource
from paper_repro.core.errors import Unavailable

HERE = Path(__file__).parent
HUB = HubSource("owner/tiny", "plain_text", image_column="img")
CARD = """---
configs:
- config_name: plain_text
  data_files:
  - {split: train, path: plain_text/train-*}
  - {split: test, path: plain_text/test-*}
---
"""
EXTRA_CARD = CARD.removesuffix("---\n") + "  - {split: extra, path: plain_text/extra-*}\n---\n"
LOAD = """
import dataclasses, sys
from tiny_data import *
from paper_repro.core.cli import run
from paper_repro.core.data import load_dataset
from paper_repro.core.data.registry import DATASETS
spec = make_spec(make_arrays())
files = {split: f"plain_text/{split}-*.parquet" for split in ("train", "test")}
if sys.argv[1:] == ["files"]:
    spec = dataclasses.replace(spec, hub=dataclasses.replace(spec.hub, data_files=files))
DATASETS["tiny"] = spec
def main():
    '''Test.'''
    dataset = load_dataset("tiny")
    print(dataset.data_sha256, dataset.source, sep="|")
run(main, [])
"""


def load(endpoint, tmp_path, *args, **environment):
    return subprocess.run(
        [sys.executable, "-c", LOAD, *args],
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            **environment,
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("how", ["config", "files"])
def test_a_repository_with_permuted_blocks_loads_in_official_order(empty_cache, tmp_path, how):
    arrays = make_arrays()
    root = tmp_path / "repo"
    write_parquet(root / "plain_text", permuted(arrays, (3, 0, 1, 4, 2)))
    extra = root / "plain_text" / "extra-00000-of-00001.parquet"
    extra.write_bytes((root / "plain_text" / "test-00000-of-00001.parquet").read_bytes())
    (root / "README.md").write_text(EXTRA_CARD)
    log = []
    with fake_hub("owner/tiny", root, log) as endpoint:
        done = load(endpoint, tmp_path, how)
    assert done.returncode == 0, done.stderr
    digest, source = done.stdout.strip().split("|")
    assert digest == combined_digest(make_spec(arrays).sha256)
    assert source == f"Hugging Face Hub owner/tiny@{REVISION}"
    assert any("extra-" in route for route in log) == (how == "config")
    # The cache serves the next call, whatever the Hub does.
    again = load("http://127.0.0.1:9", tmp_path, how)
    assert again.stdout == done.stdout
    # So does the Hub's own cache, in offline mode.
    offline = load(endpoint, tmp_path, how, HF_HUB_OFFLINE="1", KIP_CACHE_DIR=str(tmp_path / "new"))
    if how == "config":
        assert offline.stdout.split("|")[0] == digest, offline.stderr


def test_other_bytes_are_refused(empty_cache, tmp_path):
    root = tmp_path / "repo"
    write_parquet(root / "plain_text", make_arrays(seed=5))
    (root / "README.md").write_text(CARD)
    with fake_hub("owner/tiny", root) as endpoint:
        done = load(endpoint, tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot get Tiny (Hugging Face Hub: ")
    assert "is not the official Tiny: SHA-256 of x_train" in last
    assert not (empty_cache / "data").exists()


def test_a_silent_hub_costs_less_than_ten_seconds(empty_cache, tmp_path):
    with black_hole() as endpoint:
        start = time.monotonic()
        done = load(endpoint, tmp_path)
        seconds = time.monotonic() - start
    assert done.returncode == 2
    assert "Hugging Face Hub: cannot be reached at" in done.stderr
    assert "Traceback" not in done.stderr
    assert seconds < 10


def test_offline_mode_asks_nobody(empty_cache, tmp_path):
    asked = []
    with serve(lambda exchange: asked.append(exchange.route)) as endpoint:
        for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            done = load(endpoint, tmp_path, **{variable: "1"})
            assert done.returncode == 2
            assert "owner/tiny" in done.stderr
    assert asked == []


def test_a_trickle_does_not_outlive_the_deadline(monkeypatch):
    monkeypatch.setattr("paper_repro.core.data.hub._PROBE_SECONDS", 1)

    def trickle(exchange):
        exchange.send_response(200)
        exchange.end_headers()
        for _ in range(100):
            exchange.wfile.write(b" ")
            time.sleep(0.05)

    with serve(trickle) as endpoint:
        start = time.monotonic()
        with pytest.raises(Unavailable, match="no answer within 1 s"):
            probe(HUB, endpoint)
        assert time.monotonic() - start < 4  # the trickle takes five seconds


def test_a_hub_whose_file_host_is_blocked_is_given_up(monkeypatch):
    monkeypatch.setattr("paper_repro.core.data.hub._PROBE_SECONDS", 1)
    siblings = [{"rfilename": "plain_text/train-00000-of-00001.parquet"}]

    def answer(exchange):
        if "/resolve/" in exchange.route:
            time.sleep(2)
        else:
            exchange.send_json({"sha": REVISION, "siblings": siblings})

    with serve(answer) as endpoint, pytest.raises(Unavailable, match="no answer within"):
        probe(HUB, endpoint)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>please log in</html>", "Expecting value"),
        (b"[]", "not the answer of a Hub"),
        (b'{"sha": "0", "siblings": []}', "no Parquet files"),
        (b'{"sha": "0", "siblings": [{"rfilename": "a.parquet"}]}', "a.parquet is not Parquet"),
    ],
)
def test_other_servers_are_not_taken_for_a_hub(body, message):
    with (
        serve(lambda exchange: exchange.send(200, body)) as endpoint,
        pytest.raises(Unavailable, match=message),
    ):
        probe(HUB, endpoint)


def test_a_token_that_is_not_valid_is_named():
    with (
        serve(lambda exchange: exchange.send(401, b"")) as endpoint,
        pytest.raises(Unavailable, match=r"the stored token is not valid: .*hf auth logout"),
    ):
        probe(HUB, endpoint, "expired")


def test_a_token_goes_to_the_hub_and_not_along_a_redirect(tmp_path):
    seen = []

    def files(exchange):
        seen.append(exchange.headers.get("Authorization"))
        exchange.send(200, b"PAR1")

    siblings = [{"rfilename": "plain_text/train-0.parquet"}]
    with serve(files) as file_host:

        def answer(exchange):
            seen.append(exchange.headers.get("Authorization"))
            if "/resolve/" in exchange.route:
                exchange.send(302, b"", Location=f"{file_host}/train")
            else:
                exchange.send_json({"sha": REVISION, "siblings": siblings})

        with serve(answer) as endpoint:
            assert probe(HUB, endpoint, "secret") == REVISION
    assert seen == ["Bearer secret", "Bearer secret", None]
