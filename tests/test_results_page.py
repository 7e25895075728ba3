"""RESULTS.md and the pages of the scripts show the committed rows."""

from pathlib import Path

from paper_repro.core.registry import scripts
from paper_repro.report import pages, report

ROOT = Path(__file__).resolve().parents[1]


def test_results_pages_are_what_the_rows_give(monkeypatch):
    monkeypatch.chdir(ROOT)
    out, results = Path("RESULTS.md"), Path("results")
    modules = [script.load() for script in scripts()]
    assert out.read_text(encoding="utf-8") == report(modules, results, out)
    for path, text in pages(modules, results, out).items():
        assert path.is_file() and path.read_text(encoding="utf-8") == text, path
