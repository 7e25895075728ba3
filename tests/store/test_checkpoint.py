import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from paper_repro.core.errors import UserError
from paper_repro.core.store import checkpoint

TENSORS = {
    "images": np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32),
    "labels": np.array([[0.9, -0.1], [np.nan, -np.inf]]),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    ".step": np.asarray(37),
    ".optimizer['scale']": np.float32(0.5),
    "none": np.empty((0, 3), np.float32),
}
METADATA = {"run_hash": "0123abcd", "seconds": "12.5", "note": 'é "quoted"\nline'}


@pytest.fixture
def path(tmp_path):
    checkpoint.save(tmp_path / "state.safetensors", TENSORS, METADATA)
    return tmp_path / "state.safetensors"


def assert_holds_everything(found):
    assert found.metadata == METADATA
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.tensors[name].shape == np.shape(tensor)
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].tobytes() == tensor.tobytes()


def test_what_is_loaded_equals_what_was_saved_bit_for_bit(path):
    assert_holds_everything(checkpoint.load(path))


def test_arrays_that_are_not_contiguous_are_saved_by_value(tmp_path):
    array = np.arange(24.0).reshape(4, 6)
    checkpoint.save(tmp_path / "x", {"t": array.T, "s": array[::2, 1::2]}, {})
    found = checkpoint.load(tmp_path / "x").tensors
    assert np.array_equal(found["t"], array.T)
    assert np.array_equal(found["s"], array[::2, 1::2])


def test_the_same_content_makes_the_same_file_in_every_process(path, tmp_path):
    code = (
        "import sys; from pathlib import Path; from paper_repro.core.store import checkpoint;"
        "found = checkpoint.load(Path(sys.argv[1]));"
        "checkpoint.save(Path(sys.argv[2]), found.tensors, found.metadata)"
    )
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "again"], check=True)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_file_cut_anywhere_is_refused_by_name(path):
    whole = path.read_bytes()
    for size in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"{path} is truncated or damaged"):
            checkpoint.load(path)


def test_a_flipped_bit_anywhere_is_refused_by_name(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            # A space of the header turned into other white space changes nothing.
            assert_holds_everything(checkpoint.load(path))
            assert whole[place : place + 1] == b" "
        except UserError as error:
            assert str(path) in str(error) and "damaged" in str(error)


def test_files_appended_to_are_refused(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(path)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(pickle.dumps(Payload(str(tmp_path / "executed"))))
    with pytest.raises(UserError, match=f"{path} is truncated or damaged"):
        checkpoint.load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"PK\x03\x04" + b"x" * 99, b"text\n" * 50])
def test_foreign_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(UserError, match=str(tmp_path / "foreign")):
        checkpoint.load(tmp_path / "foreign")


def test_safetensors_of_others_are_refused_by_name(tmp_path):
    save_file({"images": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not match its digest"):
        checkpoint.load(tmp_path / "other.safetensors")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=f"no checkpoint at {tmp_path / 'gone'}"):
        checkpoint.load(tmp_path / "gone")


def test_a_directory_in_place_of_a_file_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        checkpoint.load(tmp_path)


@pytest.fixture
def rolling(tmp_path):
    """States of steps 1, 2 and 3 were saved, so 3 is the latest and 2 the one before."""
    rolling = checkpoint.Rolling(tmp_path)
    for step in (1, 2, 3):
        rolling.save({"step": np.asarray(step)}, {"run_hash": "x"})
    return rolling


def step_of(rolling):
    return int(checkpoint.Rolling(rolling.latest.parent).load().tensors["step"])


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def test_a_run_that_has_not_started_has_no_state(tmp_path):
    assert checkpoint.Rolling(tmp_path / "new").load() is None


def test_the_latest_and_the_one_before_it_are_kept(rolling):
    assert int(checkpoint.load(rolling.latest).tensors["step"]) == 3
    assert int(checkpoint.load(rolling.previous).tensors["step"]) == 2
    assert len(list(rolling.latest.parent.iterdir())) == 2


def test_the_latest_is_used_without_a_warning(rolling):
    with warnings.catch_warnings(action="error"):
        assert step_of(rolling) == 3


def test_a_damaged_latest_state_is_named_and_the_one_before_it_used(rolling):
    cut(rolling.latest)
    with pytest.warns(UserWarning, match=f"{rolling.latest} .*falling back"):
        assert step_of(rolling) == 2


def test_a_damaged_older_state_does_not_matter(rolling):
    cut(rolling.previous)
    with warnings.catch_warnings(action="error"):
        assert step_of(rolling) == 3


def test_two_damaged_states_are_refused_by_name(rolling):
    cut(rolling.latest)
    cut(rolling.previous)
    with (
        pytest.warns(UserWarning) as warned,
        pytest.raises(UserError, match=f"{rolling.previous} .*delete the run's directory"),
    ):
        rolling.load()
    assert str(rolling.latest) in str(warned[0].message)


def test_a_process_killed_between_the_two_renames_loses_nothing(rolling):
    staged = rolling.latest.with_name("staged-elsewhere")
    checkpoint.save(staged, {"step": np.asarray(4)}, {})
    # What `save` does up to its last rename.
    os.replace(rolling.latest, rolling.previous)
    os.replace(staged, rolling.latest.with_name("state.next.safetensors"))
    assert step_of(rolling) == 4
    rolling.save({"step": np.asarray(5)}, {})
    assert step_of(rolling) == 5


def test_a_process_killed_before_the_first_rename_loses_that_state_alone(rolling):
    checkpoint.save(rolling.latest.with_name("state.next.safetensors"), {"step": np.asarray(4)}, {})
    assert step_of(rolling) == 3


SAVE_AND_DIE = """
import os, sys
from pathlib import Path
import numpy as np
from paper_repro.core.store import checkpoint

left = int(sys.argv[2])

def ending(call):
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*args, **kwargs)
    return counted

for name in ("umask", "fsync", "chmod", "replace", "close"):
    setattr(os, name, ending(getattr(os, name)))
checkpoint.Rolling(Path(sys.argv[1])).save({"step": np.asarray(4)}, {})
"""


def test_a_save_that_dies_anywhere_leaves_a_whole_state(rolling):
    directory = rolling.latest.parent
    for calls in range(20):
        command = [sys.executable, "-c", SAVE_AND_DIE, directory, str(calls)]
        done = subprocess.run(command, timeout=60)
        assert step_of(rolling) in (3, 4)
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert calls >= 5
    assert step_of(rolling) == 4
