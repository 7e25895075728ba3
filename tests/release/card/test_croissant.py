"""Croissant as its readers read it: every value of every field, from a folder and from a server."""

import functools
import io
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow.parquet as pq
import pytest
from distilled_sets import LEARNED, SETS, edit_json, listed_again
from PIL import Image

import release
from paper_repro.core.errors import UserError

# In a process of its own: where `datasets` is imported first, its array type is registered with
# Arrow and pandas 3 cannot convert it.
READ = """
import sys
import mlcroissant, numpy as np
described = mlcroissant.Dataset(jsonld=sys.argv[1])
assert not described.metadata.issues.errors, described.metadata.issues.errors
assert not described.metadata.issues.warnings, described.metadata.issues.warnings
found = {"date": str(described.metadata.date_published.date())}
for records in described.metadata.record_sets:
    rows = list(described.records(records.uuid))
    for name in rows[0]:
        values = [row[name] for row in rows]
        found[name.replace("/", " ")] = np.stack([np.asarray(value) for value in values])
np.savez(sys.argv[2], **found)
"""


def read(jsonld, folder, **environment):
    """Every value that mlcroissant makes of a description, by set and field."""
    out = folder / "found.npz"
    done = subprocess.run(
        [sys.executable, "-c", READ, str(jsonld), str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CROISSANT_CACHE": str(folder / "cache"), **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as file:
        return dict(file)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A plain web server: the folder that it shows, and its address."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path_factory.mktemp("www")
    handler = functools.partial(Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def build(made, out, **options):
    release.build(out, checkpoints=made.checkpoints, data_dir=made.data_dir, **options)


def require_the_rows(made, found):
    newest = max(
        json.loads((made.folder / "records" / f"{name}.json").read_text())["started"]
        for name in SETS
    )
    assert str(found.pop("date")) == newest[:10]
    fields = ("image_whitened", "image", "soft_label", "label", "support_index")
    assert set(found) == {f"{name} {field}" for name in SETS for field in fields}
    for name in SETS:
        with np.load(made.folder / "npz" / f"{name}.npz") as arrays:
            images, labels = arrays["images"], arrays["labels"]
        whitened = found[f"{name} image_whitened"].astype(np.float32)
        assert whitened.shape == images.shape and np.array_equal(whitened, images)
        assert np.array_equal(found[f"{name} soft_label"].astype(np.float32), labels)
        table = pq.read_table(made.folder / "data" / name / "train-00000-of-00001.parquet")
        assert found[f"{name} label"].tolist() == table["label"].to_pylist()
        assert found[f"{name} support_index"].tolist() == list(range(len(images)))
        pictures = [Image.open(io.BytesIO(cell["bytes"])) for cell in table["image"].to_pylist()]
        assert np.array_equal(found[f"{name} image"], np.stack([np.asarray(p) for p in pictures]))


def test_values_from_a_folder(made, tmp_path):
    require_the_rows(made, read(made.folder / "croissant-local.json", tmp_path))


def test_values_from_a_server_that_is_no_hub(made, server, tmp_path):
    folder, address = server
    build(made, folder / "sets", base_url=f"{address}/sets/")
    release.verify(folder / "sets", checkpoints=made.checkpoints)
    require_the_rows(made, read(f"{address}/sets/croissant.json", tmp_path))
    # It is the addresses that were read, and what comes from there is checked.
    (rows,) = (folder / "sets" / "data" / LEARNED).iterdir()
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    with pytest.raises(AssertionError, match="Hash of downloaded file"):
        read(f"{address}/sets/croissant.json", tmp_path, CROISSANT_CACHE=str(tmp_path / "empty"))


def test_the_hub_serves_the_files_under_the_tag(made, tmp_path):
    build(made, tmp_path / "r", repository="ada/my-sets", version="v2")
    described = json.loads((tmp_path / "r" / "croissant.json").read_text())
    folder = "https://huggingface.co/datasets/ada/my-sets/resolve/v2/data"
    assert [file["contentUrl"] for file in described["distribution"]] == [
        f"{folder}/{name}/train-00000-of-00001.parquet" for name in sorted(SETS)
    ]
    local = json.loads((tmp_path / "r" / "croissant-local.json").read_text())
    for one, other in zip(described["distribution"], local["distribution"], strict=True):
        assert one.pop("contentUrl").endswith("/resolve/v2/" + other.pop("contentUrl"))
    assert described == local


def test_it_was_published_on_a_day_that_builds_agree_on(made, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build(made, tmp_path / "one")
    for name in ("croissant.json", "croissant-local.json"):
        described = json.loads((tmp_path / "one" / name).read_text())
        assert described["datePublished"] == "2023-11-14"
    release.verify(tmp_path / "one", checkpoints=made.checkpoints)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH=today is not a number of seconds"):
        build(made, tmp_path / "three")
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    "base", ["sets", "ftp://host/x", "https://me:pw@host", "http://h?x", "//h"]
)
def test_an_address_that_nothing_is_served_at_is_refused(made, tmp_path, base):
    with pytest.raises(UserError, match="--base-url"):
        build(made, tmp_path / "r", base_url=base)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, url, said",
    [
        ("croissant.json", "data/{}", "distribution does not describe"),
        ("croissant.json", "https://huggingface.co/datasets/a/b/resolve/v1/data/{}", "not below"),
        ("croissant-local.json", "https://host/data/{}", "distribution does not describe"),
        ("croissant-local.json", "../data/{}", "distribution does not describe"),
    ],
)
def test_other_addresses_do_not_verify(copy, name, url, said):
    def change(described):
        for file in described["distribution"]:
            end = file["contentUrl"].rpartition("/data/")[2].removeprefix("data/")
            file["contentUrl"] = url.format(end)

    edit_json(copy / name, change)
    with pytest.raises(UserError, match=said):
        release.verify(listed_again(copy))
