"""The page of all sets in a real browser, from local files: all is drawn, nothing complains."""

import re
import shutil
import subprocess

import pytest
from distilled_sets import SETS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

PROBE = """<script>
addEventListener("load", () => {
  const drawn = [...document.images].map(i => i.complete && i.naturalWidth > 0);
  const probe = document.createElement("pre");
  probe.textContent = `probe ${drawn.length} ${drawn.filter(Boolean).length} ${failures}`;
  document.body.append(probe);
});
let failures = 0;
addEventListener("error", () => { failures += 1; }, true);
</script></head>"""


def test_nothing_is_fetched_from_elsewhere(made):
    page = (made.folder / "index.html").read_text()
    assert "<script" not in page and "http" not in page
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert len(sources) == 2 * len(SETS)
    for source in sources:
        assert (made.folder / source).is_file()
    assert "a &lt;b&gt;" not in page  # class names are in the pictures


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_every_picture_is_drawn(copy, tmp_path):
    page = copy / "index.html"
    page.write_text(page.read_text().replace("</head>", PROBE))
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"),
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    n = 2 * len(SETS)
    assert f"probe {n} {n} 0" in done.stdout, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
