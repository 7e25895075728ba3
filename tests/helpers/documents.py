"""What the documents promise: links that lead somewhere, commands that parse, code that imports.

Nothing here reaches for the network or runs a command: a command line is parsed by the very parser
its module would use, and goes no further.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import itertools
import json
import os
import re
import runpy
import shlex
import urllib.parse
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from paper_repro.core import cli

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = MarkdownIt("commonmark").enable("table")
"""As GitHub reads it, as far as these documents go."""

NOT_INSTALLED = ("torch",)
"""Packages that code in a document may import and that the tests do without."""

_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']*)[\"']", re.IGNORECASE)
_ANCHOR = re.compile(r"<[^>]*\b(?:id|name)=[\"']([^\"']+)[\"']")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BARE = re.compile(r"(?<![\w(\"'\[/])(?:https?|ftp):/*[^\s<>\"'`|]*[^\s<>\"'`|.,;:!?)\]]")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_PLACEHOLDER = re.compile(r"<[^<>]*>")
_COMMAND = re.compile(r"(?:\$ )?((?:\w+=\S* )*(?:python3? -m|make) \S.*)", re.DOTALL)
_OPERATOR = re.compile(r"[|&;<>]+")


@dataclass(frozen=True)
class Document:
    """A Markdown text and the path that its relative links start from, which need not exist."""

    path: Path
    text: str

    @functools.cached_property
    def _parsed(self) -> tuple[list[Token], dict]:
        """The block tokens of the text without its front matter, and its link references."""
        text = re.sub(r"\A---\n.*?\n---\n", "", self.text, flags=re.DOTALL)
        env: dict = {}
        return MARKDOWN.parse(text, env), env.get("references", {})

    @property
    def _inline(self) -> Iterator[Token]:
        """The tokens of all running text, in order."""
        for token in self._parsed[0]:
            yield from token.children or ()

    @property
    def _html(self) -> str:
        """Everything that is written in HTML, but for comments."""
        tokens = (*self._parsed[0], *self._inline)
        parts = [token.content for token in tokens if token.type.startswith("html_")]
        return _COMMENT.sub("", "\n".join(parts))

    @property
    def links(self) -> list[str]:
        """Targets of links and images, and addresses in the text, each once."""
        references = self._parsed[1]
        found, depth = [reference["href"] for reference in references.values()], 0
        for token in self._inline:
            depth += token.nesting if token.type in ("link_open", "link_close") else 0
            found += [token.attrs[key] for key in ("href", "src") if key in token.attrs]
            if token.type == "text" and not depth:
                found += _BARE.findall(token.content)
        return list(dict.fromkeys([*found, *_HTML.findall(self._html)]))

    @property
    def anchors(self) -> set[str]:
        """What `#...` may name: headings by GitHub's rule, and anchors written in HTML."""
        seen: Counter[str] = Counter()
        found = set(_ANCHOR.findall(self._html))
        for opening, heading in itertools.pairwise(self._parsed[0]):
            if opening.type == "heading_open":
                name = slug(heading.content)
                found.add(f"{name}-{seen[name]}" if seen[name] else name)
                seen[name] += 1
        return found

    @property
    def commands(self) -> list[tuple[str, bool]]:
        """(command line, whether it is whole): of fenced blocks, and of inline code.

        In a sentence a command may be named without the arguments that it requires.
        """
        blocks = [
            code for language, code in self.blocks if language in ("", "sh", "bash", "console")
        ]
        lines = [line for code in blocks for line in code.replace("\\\n", " ").splitlines()]
        spans = [token.content for token in self._inline if token.type == "code_inline"]
        found = [(line.strip(), True) for line in lines]
        found += [(" ".join(span.split()), False) for span in spans]
        return [(match[1], whole) for text, whole in found if (match := _COMMAND.fullmatch(text))]

    @property
    def python(self) -> list[str]:
        """The fenced blocks of Python."""
        return [code for language, code in self.blocks if language in ("python", "py")]

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """(language, content) of every fenced block."""
        fences = [token for token in self._parsed[0] if token.type == "fence"]
        return [(token.info.split(" ")[0].lower(), token.content) for token in fences]


def read_document(path: Path) -> Document:
    """A Markdown file, or the Markdown cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return Document(path, text)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading: its text in lower case, hyphens for blanks."""
    (line,) = MARKDOWN.parseInline(heading)
    text = "".join(token.content for token in line.children)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def problems(document: Document) -> list[str]:
    """Everything that is wrong with a document; empty where it keeps its promises."""
    found = [(link, problem_with_link(document, link)) for link in document.links]
    found += [(line, problem_with_command(line, whole)) for line, whole in document.commands]
    found += [(code, problem_with_python(code)) for code in document.python]
    return [f"{document.path.name}: {what}: {problem}" for what, problem in found if problem]


def problem_with_link(document: Document, link: str) -> str | None:
    """Why a link leads nowhere, or None. Absolute ones are only read."""
    try:
        parts = urllib.parse.urlsplit(link)
    except ValueError as error:
        return str(error)
    if parts.scheme or parts.netloc:
        if parts.scheme != "https":
            return "not https"
        if not _HOST.fullmatch(parts.netloc) or re.search(r"[\s\\^`{}]", link):
            return "malformed"
        return None
    target = document.path
    if parts.path:
        target = Path(
            os.path.normpath(document.path.parent / urllib.parse.unquote(parts.path))
        ).absolute()
        if parts.path.startswith("/") or not target.exists():
            return "no such file"
    if not parts.fragment:
        return None if parts.path else "empty"
    if target != document.path:
        if target.suffix != ".md":
            return "an anchor in what is no Markdown"
        document = read_document(target)
    return None if parts.fragment in document.anchors else "no such heading"


def problem_with_command(line: str, whole: bool = True) -> str | None:
    """Why a command line is not accepted, or None; one that is not whole may lack arguments."""
    if "..." in line or "…" in line:
        line, whole = re.sub(r"\S*(?:\.\.\.|…)\S*", "", line), False
    try:
        words = _words(_PLACEHOLDER.sub("1", line))
    except ValueError as error:  # an open quotation
        return str(error)
    while re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    if words[0] == "make":
        return _problem_with_make(words[1:])
    module, *arguments = words[2:]
    if module.split(".")[0] not in ("paper_repro", "release"):
        return None if _is_module(module) else f"no module {module}"
    try:
        status, said, commands = _accepted(module, arguments)
    except ImportError as error:
        return str(error)
    if status == 0:
        return None
    if whole or not re.match(r"error: (Missing |Expected one of )", said):
        return said.strip()
    # A missing argument hides mistakes in others: those options at least must exist.
    name = [word for word in arguments[:1] if word in commands]
    known = re.findall(r"--[\w-]+", _accepted(module, [*name, "--help"])[1])
    flags = (word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("--"))
    return next((f"no option {flag}" for flag in flags if flag not in known), None)


def problem_with_python(code: str) -> str | None:
    """Why a block does not compile or one of its imports fails, or None."""
    try:
        tree = ast.parse(code)
        compile(code, "<document>", "exec")
    except SyntaxError as error:
        return f"does not compile: {error}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module.split(".")[0] not in NOT_INSTALLED and not _importable(module, name):
                return f"cannot import {module}" if name is None else f"no {name} in {module}"
    return None


def _accepted(module: str, arguments: list[str]) -> tuple[int, str, tuple[str, ...]]:
    """What `python -m module ARGUMENTS` makes of its arguments, up to where the work would begin.

    Returns:
      Exit status (0 where they are accepted), what was printed, the names of subcommands.

    Raises:
      ImportError: there is no such module, or it has no command line of this project.
    """
    found: list[tuple[int, tuple[str, ...]]] = []
    printed = io.StringIO()

    def parse_only(main, args=None, commands=None):
        status = 0
        try:
            cli.parse(main, arguments, commands)
        except SystemExit as stop:
            status = int(stop.code or 0)
        found.append((status, tuple(commands or ())))

    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        # Packages whose modules were imported before warn about it.
        warnings.simplefilter("ignore", RuntimeWarning)
        patch.setattr(cli, "run", parse_only)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    if not found:
        raise ImportError(f"{module} is no command")
    return found[0][0], printed.getvalue(), found[0][1]


def _words(line: str) -> list[str]:
    """The first command of a line, without comment and redirection."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in lexer:
        if _OPERATOR.fullmatch(word):
            break
        words.append(word)
    return words


def _problem_with_make(words: list[str]) -> str | None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.findall(r"^([^\t#\n:=]+):(?!=)", text, re.MULTILINE)
    targets = {name for rule in rules for name in rule.split()}
    variables = set(re.findall(r"^(\w+)\s*[:?+]?=", text, re.MULTILINE))
    for word in words:
        name, is_variable, _ = word.partition("=")
        if name not in (variables if is_variable else targets):
            return f"the Makefile has no {'variable' if is_variable else 'target'} {name}"
    return None


def _importable(module: str, name: str | None) -> bool:
    try:
        found = importlib.import_module(module)
    except (ImportError, TypeError):  # a relative import has no package here
        return False
    return name in (None, "*") or hasattr(found, name) or _is_module(f"{module}.{name}")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def documents() -> Iterator[Path]:
    """The documents of the repository that are written by hand, or committed as they are."""
    yield from (ROOT / name for name in ("README.md", "RESULTS.md", "checkpoints/README.md"))
    yield from sorted((ROOT / "docs").glob("*.md"))
    yield from sorted((ROOT / "notebooks").glob("*.ipynb"))
