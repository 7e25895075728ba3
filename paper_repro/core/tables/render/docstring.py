"""A module's docstring as Markdown."""

from __future__ import annotations

import inspect
import itertools
import re

from paper_repro.core.tables.render.markdown import inline

_REMARK = re.compile(r"(python -m \S.*?) {3,}([^#\s].*)")


def title_and_body(docstring: str) -> tuple[str, str]:
    """The first paragraph without its full stop, and the rest; both Markdown.

    What is indented by four or more becomes a fenced block, lines that start with a dash a list.
    Words set apart from a command by three or more spaces become its comment.
    """
    title, *rest = _blocks(inspect.cleandoc(docstring).splitlines())
    return inline(" ".join(title)).rstrip("."), "\n\n".join(map(_rendered, rest))


def _blocks(lines: list[str]) -> list[list[str]]:
    """Paragraphs and indented blocks; blank lines within an indented block stay."""
    blocks: list[list[str]] = []
    for is_blank, group in itertools.groupby(lines, lambda line: not line.strip()):
        if is_blank:
            continue
        for is_code, part in itertools.groupby(group, _is_code):
            block = list(part)
            if is_code and blocks and _is_code(blocks[-1][-1]):
                blocks[-1] += ["", *block]
            else:
                blocks.append(block)
    return blocks


def _is_code(line: str) -> bool:
    return line.startswith("    ")


def _rendered(block: list[str]) -> str:
    if _is_code(block[0]):
        code = inspect.cleandoc("\n" + "\n".join(block))
        return "```\n" + _REMARK.sub(r"\1  # \2", code) + "\n```"
    if block[0].startswith("- "):
        items = re.split(r"^- ", "\n".join(block), flags=re.MULTILINE)[1:]
        return "\n".join(f"- {inline(item)}" for item in items)
    return inline(" ".join(block))
