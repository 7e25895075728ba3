"""Documents keep their promises, and the checks of that find what is broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from documents import (
    ROOT,
    Document,
    documents,
    problem_with_command,
    problem_with_link,
    problem_with_python,
    problems,
    read_document,
    slug,
)

from paper_repro import report
from paper_repro.scripts import scripts

PATHS = list(documents())


@pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(ROOT)) for path in PATHS])
def test_a_document_keeps_its_promises(path):
    assert problems(read_document(path)) == []


def test_the_pages_of_the_scripts_keep_their_promises(monkeypatch):
    monkeypatch.chdir(ROOT)
    modules = [script.load() for script in scripts()]
    shown = report.shown_of(modules, Path("results"))
    pages = report.pages(shown, Path("results"), Path("RESULTS.md"))
    assert len(pages) == len(modules)
    for path, text in pages.items():
        page = Document(ROOT / path, text)
        assert page.links and page.commands
        assert problems(page) == []


def test_what_is_looked_at_in_the_readme():
    readme = read_document(ROOT / "README.md")
    commands = [line.split("  ")[0] for line, _ in readme.commands]
    for line in (
        "make reproduce",
        "make torch",
        "python -m paper_repro",
        "python -m paper_repro.benchmark kernel --architectures convnet --json",
        "python -m release push build/mine",
    ):
        assert line in commands
    assert len(readme.python) >= 3
    assert len(readme.text.splitlines()) <= 180
    assert {"RESULTS.md", "checkpoints/README.md", "https://arxiv.org/abs/2107.13034"} <= set(
        readme.links
    )


TEXT = """---
url: http://front.matter
---
# The `kernel_fn`, *fast*: A & B

See [this](#the-kernel_fn-fast-a--b), [that](other.md#two), [(paren)](a_(b).md "title"),
[![badge](badge.png)](https://a.org/x) and https://b.org/y, or <https://c.org>.
`[code](not-a-link.md)`

## Twice
## Twice

<img alt="x" src="picture.png"> [ref]

[ref]: https://d.org/z "Title"

```sh
make help          # [no](link.md)
$ KIP_X=1 python -m paper_repro --results \\
    runs > out.txt
make sense of it
echo python -m nothing
```

- In a list, `python -m release
  verify` and `make venv`, and `make`; \\`make no code\\`.

  ```python
  import json
  ```

| a |
| --- |
| `make a \\| b` |
"""


@pytest.fixture
def document(tmp_path):
    (tmp_path / "other.md").write_text("# One\n\n```\n# Two\n```\n\n<a id='html'></a>\n")
    (tmp_path / "picture.png").write_bytes(b"")
    return Document(tmp_path / "README.md", TEXT)


def test_what_a_text_holds(document):
    assert sorted(document.links) == sorted(
        [
            *("#the-kernel_fn-fast-a--b", "other.md#two", "a_(b).md", "badge.png", "picture.png"),
            *("https://a.org/x", "https://b.org/y", "https://c.org", "https://d.org/z"),
        ]
    )
    assert document.anchors == {"the-kernel_fn-fast-a--b", "twice", "twice-1"}
    assert document.commands == [
        ("make help          # [no](link.md)", True),
        ("KIP_X=1 python -m paper_repro --results      runs > out.txt", True),
        ("make sense of it", True),
        ("python -m release verify", False),
        ("make venv", False),
        ("make a | b", False),
    ]
    assert document.python == ["import json\n"]
    assert len(problems(document)) == 5  # other.md#two, a_(b).md, badge.png, two makes


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Two commands", "two-commands"),
        ("The exact ConvNet NTK, fast", "the-exact-convnet-ntk-fast"),
        ("`a_b` \\_c [link](x.md) -- d", "a_b-_c-link----d"),
        ("Wörter & 2.5 %", "wörter--25-"),
    ],
)
def test_headings_get_the_anchors_of_github(heading, anchor):
    assert slug(heading) == anchor


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("other.md", None),
        ("./other.md#one", None),
        ("other.md#html", None),
        ("picture.png", None),
        ("#twice-1", None),
        ("https://arxiv.org/abs/2107.13034#x", None),
        ("missing.md", "no such file"),
        ("missing%20too.png", "no such file"),
        ("/other.md", "no such file"),
        ("other.md#two", "no such heading"),
        ("#twice-2", "no such heading"),
        ("picture.png#x", "an anchor in what is no Markdown"),
        ("", "empty"),
        ("http://arxiv.org/abs/2107.13034", "not https"),
        ("ftp://arxiv.org", "not https"),
        ("//arxiv.org", "not https"),
        ("https:/arxiv.org/abs", "malformed"),
        ("https://localhost/x", "malformed"),
        ("https://a b.org", "malformed"),
        ("https://[::1", "Invalid IPv6 URL"),
    ],
)
def test_links(document, link, problem):
    assert problem_with_link(document, link) == problem


@pytest.mark.parametrize(
    "line",
    [
        "make reproduce  # a comment",
        "make venv PYTHON=python3.11",
        "python -m paper_repro",
        "python -m paper_repro --results <folder>",
        'python -m paper_repro.table1_comparison --ipc <per class> --methods <LS | "KIP (l)">',
        'python -m paper_repro.table1_comparison --methods LS "KIP (l)" --ipc 1 10 | tee log',
        "KIP_DATA_DIR=x python -m paper_repro.evaluate kip.npz --n-test 2000 && echo done",
        "python -m paper_repro.benchmark kernel --json > benchmark.json",
        "python -m release verify build/release --score",
        "python -m release build ... --out build/release",
        "python -m release push ...",
        "python -m json.tool",
    ],
)
def test_commands_that_are_accepted(line):
    assert problem_with_command(line) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make reproduction", "no target reproduction"),
        ("make venv PYTHONS=python3.11", "no variable PYTHONS"),
        ("python -m paper_repro.no_such_table", "No module named"),
        ("python -m paper_repro.core.krr", "paper_repro.core.krr is no command"),
        ("python -m no_such_module", "no module no_such_module"),
        ("python -m paper_repro.report --result results", "--result"),
        ("python -m paper_repro.report stray", "stray"),
        ("python -m paper_repro.table1_comparison --ipc one", "--ipc"),
        ("python -m paper_repro.evaluate", "Missing"),
        ("python -m paper_repro.benchmark kernels", "kernels"),
        ("python -m paper_repro.benchmark", "Expected one of"),
        ("python -m paper_repro.benchmark fc --quick", "--quick"),
        ("python -m release verify", "Missing"),
        ("python -m release verify ... --scores", "--scores"),
        ("python -m release publish build/release", "publish"),
        ("python -m paper_repro.evaluate 'kip.npz", "No closing quotation"),
    ],
)
def test_commands_that_are_not(line, problem):
    assert problem in problem_with_command(line)


def test_a_command_in_a_sentence_may_lack_arguments_and_not_have_wrong_ones():
    for line in ("python -m release", "python -m release verify", "python -m paper_repro.evaluate"):
        assert problem_with_command(line, whole=False) is None
    assert "--bogus" in problem_with_command("python -m paper_repro.evaluate --bogus 1", False)
    assert "--bogus" in problem_with_command("python -m release verify --bogus", False)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import numpy as np\nfrom paper_repro.core.data import load_dataset\nx = y", None),
        ("from paper_repro.core import krr, cli", None),
        ("def f():\n    import paper_repro.core.labels", None),
        ("import torch.nn\nfrom torch import no_matter_what", None),
        ("x = (", "does not compile"),
        ("return 1", "does not compile"),
        ("import paper_repro.core.no_such", "cannot import paper_repro.core.no_such"),
        ("from paper_repro.core.krr import no_such", "no no_such in paper_repro.core.krr"),
        ("from . import krr", "no krr in ."),
    ],
)
def test_python(code, problem):
    found = problem_with_python(code)
    assert found is None if problem is None else problem in found


def test_reading_a_notebook_takes_its_markdown(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# A\\n", "[b](c.md)"]},'
        ' {"cell_type": "code", "source": ["[d](e.md)"]}]}'
    )
    assert read_document(path).links == ["c.md"]
    assert "no such file" in problems(read_document(path))[0]


def test_looking_at_a_command_runs_nothing_and_keeps_the_main_module():
    main = sys.modules["__main__"]
    assert problem_with_command("python -m paper_repro.report --results no/such/folder") is None
    assert sys.modules["__main__"] is main
