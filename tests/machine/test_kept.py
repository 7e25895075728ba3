"""Files of compiled code that are damaged or cannot be written (as Numba's are: test_compiled)."""

import pytest

from paper_repro.core.machine import kept


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        flipped,
        lambda _: b"x" * 99,
    ],
    ids=["empty", "half", "one bit", "of another"],
)
def test_what_was_damaged_is_nothing(tmp_path, capsys, damage):
    path = tmp_path / "new" / "code"
    assert kept.read(path) is None
    kept.write(path, b"machine code", "")
    assert kept.read(path) == b"machine code" and list(path.parent.iterdir()) == [path]
    path.write_bytes(damage(path.read_bytes()))
    assert capsys.readouterr().err == ""
    assert kept.read(path) is None and kept.read(path) is None
    said = f"warning: compiled code in {path} is compiled again (it was damaged)\n"
    assert capsys.readouterr().err == said
    kept.write(path, b"machine code", "")
    assert kept.read(path) == b"machine code"


def test_a_place_that_cannot_be_written_is_named_once(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for number in range(3):
        kept.write(tmp_path / "file" / "folder" / str(number), b"code", "choose another")
    said = capsys.readouterr().err
    assert said.startswith(f"warning: compiled code cannot be kept in {tmp_path}/file/folder (not ")
    assert said.endswith("free some room there, or choose another\n") and said.count("\n") == 1
