import json

from paper_repro.core.store.json_lines import JsonLines


def test_what_follows_a_torn_line_does_not_count_and_goes_with_the_next_change(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    assert log.entries == []
    for step in range(3):
        log.append({"step": step, "loss": 0.1 * step})
    whole = path.read_text()
    for torn in ('{"step": 3, "lo', "3\n", '{"st\n{"step": 4}\n'):
        path.write_text(whole + torn)
        read = JsonLines(path)
        assert read.entries == log.entries
        assert path.read_text() == whole + torn
        read.append({"step": 3})
        assert [json.loads(line) for line in path.read_text().splitlines()] == [
            *log.entries,
            {"step": 3},
        ]
    read.keep(lambda entry: entry["step"] != 1)
    assert [entry["step"] for entry in JsonLines(path).entries] == [0, 2, 3]


def test_without_a_path_entries_live_in_memory():
    log = JsonLines(None)
    log.append({"bound": 1.5})
    log.keep(lambda entry: True)
    assert log.entries == [{"bound": 1.5}]
