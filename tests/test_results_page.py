"""RESULTS.md shows the committed rows, and the pages' relative links lead somewhere."""

import re
from pathlib import Path

import pytest

from paper_repro.core.registry import scripts
from paper_repro.report import report

ROOT = Path(__file__).resolve().parents[1]


def test_results_page_is_what_the_rows_give(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = Path("RESULTS.md")
    modules = [script.load() for script in scripts()]
    assert page.read_text(encoding="utf-8") == report(modules, Path("results"), page)


@pytest.mark.parametrize("page", ["README.md", "RESULTS.md"])
def test_relative_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
