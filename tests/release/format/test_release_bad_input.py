"""Damaged and hostile input: each refused by name, exit code 2, nothing written."""

import io
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from distilled_sets import FIXED, LEARNED, edit_json, files_below, listed_again

from paper_repro.core.cli import run
from paper_repro.core.store import checkpoint
from release.__main__ import COMMANDS, main

N, K = 4, 4
IMAGES = np.zeros((N, 8, 8, 3), np.float32)
LABELS = np.eye(K) - 1 / K


def command(capsys, *arguments):
    """Exit code and the error line of the command, run here."""
    with pytest.raises(SystemExit) as stop:
        run(main, [str(argument) for argument in arguments], commands=COMMANDS)
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: ")
    return stop.value.code, line


def savez(path, **arrays):
    np.savez(path, **arrays)


def npy_header(shape, dtype="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)


def truncated(path):
    savez(path, images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[:-300])


NPZ = {
    "wrong keys": (lambda p: savez(p, x=IMAGES, y=LABELS), "has no images, labels"),
    "labels of another width": (
        lambda p: savez(p, images=IMAGES, labels=np.zeros((N, 7))),
        "labels (4, 7) do not fit",
    ),
    "NaN": (lambda p: savez(p, images=IMAGES * np.nan, labels=LABELS), "NaN or infinite"),
    "inf": (lambda p: savez(p, images=IMAGES, labels=LABELS + np.inf), "NaN or infinite"),
    "objects": (
        lambda p: savez(p, images=np.array([{}] * N, object), labels=LABELS),
        "Python objects",
    ),
    "a pickle": (
        lambda p: zip_of(p, images__npy=pickle.dumps(IMAGES), labels__npy=b""),
        "is not an array",
    ),
    "a pickle beside": (
        lambda p: zip_of(p, evil__pkl=pickle.dumps(IMAGES)),
        "contains 'evil.pkl', which is not an array",
    ),
    "a header larger than the file": (
        lambda p: zip_of(p, images__npy=npy_header((10**9, 32, 32, 3)), labels__npy=b""),
        "declares the shape (1000000000, 32, 32, 3)",
    ),
    "text": (
        lambda p: savez(p, images=np.array(["a"] * N), labels=LABELS),
        "text: save numbers",
    ),
    "truncated": (truncated, "truncated or damaged"),
    "not a zip": (lambda p: p.write_bytes(pickle.dumps({"images": 1})), "truncated or damaged"),
    "missing": (lambda p: None, "no support set at"),
    "images of another size": (
        lambda p: savez(p, images=np.zeros((N, 5, 5, 3)), labels=LABELS),
        "do not fit the data set",
    ),
    "classes that do not share": (
        lambda p: savez(p, images=IMAGES[:3], labels=LABELS[:3]),
        "cannot be shared equally",
    ),
}


@pytest.mark.parametrize("case", NPZ)
def test_build_refuses_npz(case, made, tmp_path, capsys):
    make, words = NPZ[case]
    make(tmp_path / "set.npz")
    before = files_below(tmp_path)
    code, line = command(
        capsys,
        *("build", "--npz", tmp_path / "set.npz", "--dataset", "tiny", "--architecture", "FC1"),
        *("--data-dir", made.data_dir, "--out", tmp_path / "new" / "r"),
    )
    assert code == 2 and words in line
    assert files_below(tmp_path) == before and not (tmp_path / "new").exists()


def record_of(directory, change):
    edit_json(directory / LEARNED / "record.json", change)


def index(directory, sets):
    (directory / "index.json").write_text(json.dumps({"format": 1, "sets": sets}))


def tensors(directory, **changes):
    """Other arrays in a support file that its record vouches for."""
    from paper_repro.core.store.files import sha256_of_file

    path = directory / FIXED / "support.safetensors"
    kept = checkpoint.load(path)
    arrays = {k: v for k, v in {**kept.tensors, **changes}.items() if v is not None}
    checkpoint.save(path, arrays, kept.metadata)
    edit_json(
        directory / FIXED / "record.json", lambda r: r.update(file_sha256=sha256_of_file(path))
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-64])


def linked(directory, tmp_path):
    shutil.move(directory / LEARNED, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", directory / LEARNED)


def renamed(directory, name):
    index(directory, [name])


CHECKPOINTS = {
    "no index": (lambda d, t: (d / "index.json").unlink(), "it has no index.json"),
    "an empty index": (lambda d, t: index(d, []), "lists no sets"),
    "an empty file": (lambda d, t: (d / "index.json").write_text(""), "cannot be read"),
    "a name twice": (lambda d, t: index(d, [FIXED, FIXED]), "more than once"),
    "a path for a name": (lambda d, t: renamed(d, "../../etc"), "is not the name"),
    "an absolute path": (lambda d, t: renamed(d, "/etc"), "is not the name"),
    "a link that leaves": (linked, "is a link that leaves"),
    "a number for a name": (lambda d, t: index(d, [1]), "list of names"),
    "another format": (lambda d, t: record_of(d, lambda r: r.update(format=9)), "has format 9"),
    "a field missing": (lambda d, t: record_of(d, lambda r: r.pop("seed")), "lacks seed"),
    "an accuracy of 140 %": (
        lambda d, t: record_of(d, lambda r: r["metrics"].update(test_accuracy=1.4)),
        "test_accuracy is 1.4",
    ),
    "an accuracy of NaN": (
        lambda d, t: record_of(d, lambda r: r["metrics"].update(test_accuracy=float("nan"))),
        "test_accuracy is",
    ),
    "too few class names": (
        lambda d, t: record_of(d, lambda r: r.update(class_names=["a"])),
        "1 class_names",
    ),
    "a data set that leaves": (
        lambda d, t: record_of(d, lambda r: r.update(dataset="../x")),
        "cannot name a data set",
    ),
    "other data": (
        lambda d, t: record_of(d, lambda r: r.update(transform_sha256="0", data_sha256="0")),
        "made from other images",
    ),
    "a support cut short": (
        lambda d, t: cut(d / FIXED / "support.safetensors"),
        "truncated or damaged",
    ),
    "no images": (lambda d, t: tensors(d, images=None), "has no tensor 'images'"),
    "float64": (lambda d, t: tensors(d, labels=LABELS), "are float64, not float32"),
    "NaN": (lambda d, t: tensors(d, images=IMAGES * np.nan), "NaN or infinite"),
    "labels off centre": (
        lambda d, t: tensors(d, labels=np.eye(4, dtype=np.float32)),
        "one-hot minus 1/4",
    ),
    "half of the images": (lambda d, t: tensors(d, images=IMAGES[:2]), "are not 4 images"),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_build_refuses_checkpoints(case, made, checkpoints, tmp_path, capsys):
    damage, words = CHECKPOINTS[case]
    damage(checkpoints, tmp_path)
    before = files_below(tmp_path)
    code, line = command(
        capsys,
        *("build", "--checkpoints", checkpoints, "--data-dir", made.data_dir),
        *("--out", tmp_path / "new" / "r"),
    )
    assert code == 2 and words in line
    assert files_below(tmp_path) == before and not (tmp_path / "new").exists()


PARQUET = f"data/{LEARNED}/train-00000-of-00001.parquet"


def manifest(folder, change):
    edit_json(folder / "manifest.json", change)


def rewrite(folder, path, old, new):
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))
    listed_again(folder)


def wrong_vector(folder):
    path = folder / "transforms" / "tiny-zca.safetensors"
    kept = checkpoint.load(path)
    changed = {**kept.tensors, "test_output": kept.tensors["test_output"] + 1e-3}
    checkpoint.save(path, changed, kept.metadata)
    listed_again(folder)


def other_transform(folder):
    """A sound transform with a test vector that holds, of other images."""
    from paper_repro.core.preprocess import ZCA, save

    rng = np.random.default_rng(1)
    fit = ZCA.fit(rng.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8))
    save(fit, folder / "transforms" / "tiny-zca.safetensors")
    listed_again(folder)


def other_npz(folder, **changes):
    path = folder / "npz" / f"{LEARNED}.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **{**arrays, **changes})
    listed_again(folder)


def outside_link(folder, tmp_path):
    (tmp_path / "outside.npz").write_bytes((folder / "npz" / f"{LEARNED}.npz").read_bytes())
    (folder / "npz" / f"{LEARNED}.npz").unlink()
    os.symlink(tmp_path / "outside.npz", folder / "npz" / f"{LEARNED}.npz")


def twice(content):
    content["files"].append(content["files"][0])


def path_in_manifest(path):
    return lambda d, t: manifest(d, lambda m: m["files"][0].update(path=path))


def delete(folder, path):
    (folder / path).unlink()
    listed_again(folder)


def damage(folder, path, content):
    (folder / path).write_bytes(content)
    listed_again(folder)


RELEASES = {
    "no manifest": (lambda d, t: (d / "manifest.json").unlink(), "it has no manifest.json"),
    "a manifest that is no JSON": (
        lambda d, t: (d / "manifest.json").write_text("{"),
        "manifest.json cannot be read",
    ),
    "another format": (lambda d, t: manifest(d, lambda m: m.update(format=7)), "has format 7"),
    "a file twice": (lambda d, t: manifest(d, twice), "more than once"),
    "a path that leaves": (path_in_manifest("../../etc/passwd"), "unsafe path '../../etc/passwd'"),
    "an absolute path": (path_in_manifest("/etc/passwd"), "unsafe path '/etc/passwd'"),
    "a size that is not the file's": (
        lambda d, t: manifest(d, lambda m: m["files"][0].update(size=1)),
        "bytes, not 1",
    ),
    "another checksum": (
        lambda d, t: manifest(d, lambda m: m["files"][0].update(sha256="0" * 64)),
        "has changed",
    ),
    "a link that leaves": (outside_link, "is a symbolic link"),
    "an extra file": (lambda d, t: (d / "x.bin").write_text("x"), "x.bin is not listed"),
    "an extra file that is listed": (
        lambda d, t: damage(d, "x.bin", b"x"),
        "x.bin belongs to no set",
    ),
    "rows cut short": (
        lambda d, t: damage(d, PARQUET, (d / PARQUET).read_bytes()[:-100]),
        f"cannot load {PARQUET}",
    ),
    "rows missing": (lambda d, t: delete(d, PARQUET), f"{PARQUET} is missing"),
    "other images in the npz": (
        lambda d, t: other_npz(d, images=IMAGES),
        "image_whitened is not bit-equal",
    ),
    "NaN in the npz": (lambda d, t: other_npz(d, images=IMAGES * np.nan), "NaN or infinite"),
    "objects in the npz": (
        lambda d, t: other_npz(d, labels=np.array([None], object)),
        "Python objects",
    ),
    "a transform cut short": (
        lambda d, t: damage(
            d,
            "transforms/tiny-zca.safetensors",
            (d / "transforms/tiny-zca.safetensors").read_bytes()[:-9],
        ),
        "not a readable transform",
    ),
    "a wrong test vector": (lambda d, t: wrong_vector(d), "does not reproduce its own test vector"),
    "another transform": (lambda d, t: other_transform(d), "is not the one its record names"),
    "YAML that does not parse": (
        lambda d, t: rewrite(d, "README.md", "license: other", "license: [other"),
        "the Hub cannot read its metadata",
    ),
    "no license": (
        lambda d, t: rewrite(d, "README.md", "license: other\n", ""),
        "lacks license",
    ),
    "rows from elsewhere": (
        lambda d, t: rewrite(d, "README.md", f"path: {PARQUET}", "path: ../../x.parquet"),
        "does not read its rows",
    ),
    "Croissant that is no JSON": (lambda d, t: damage(d, "croissant.json", b"{"), "is not JSON"),
    "Croissant without a field source": (
        lambda d, t: rewrite(d, "croissant.json", '"cr:RecordSet"', '"cr:Nothing"'),
        "croissant.json",
    ),
    "a record that is no JSON": (
        lambda d, t: damage(d, f"records/{LEARNED}.json", b"\xff"),
        "cannot be read",
    ),
    "a record without a field": (
        lambda d, t: rewrite(d, f"records/{LEARNED}.json", '"kernel"', '"colonel"'),
        "lacks kernel",
    ),
}


@pytest.mark.parametrize("case", RELEASES)
def test_verify_refuses(case, copy, tmp_path, capsys):
    change, words = RELEASES[case]
    change(copy, tmp_path)
    before = files_below(tmp_path)
    code, line = command(capsys, "verify", copy)
    assert code == 2 and words in line
    assert files_below(tmp_path) == before
