"""RESULTS.md, the pages of the scripts and the README's headline show the committed rows."""

from pathlib import Path

from paper_repro.report import shown_of, texts
from paper_repro.scripts import scripts

ROOT = Path(__file__).resolve().parents[2]


def test_results_pages_are_what_the_rows_give(monkeypatch):
    monkeypatch.chdir(ROOT)
    modules = [script.load() for script in scripts()]
    shown = shown_of(modules, Path("results"))
    found = texts(shown, Path("results"), Path("RESULTS.md"))
    assert {"RESULTS.md", "README.md"} <= {path.name for path in found}
    for path, text in found.items():
        assert path.is_file() and path.read_text(encoding="utf-8") == text, path
