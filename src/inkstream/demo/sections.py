"""A page of Markdown as sections, each a list of blocks that can be quoted by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*\s*$")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ITEM = re.compile(r"(?:[-*+]|[0-9]+\.)\s+")
_FENCE = re.compile(r"\s*(```|~~~)")
_CELLS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"[\s|:-]*$")
_CODE_LINES: Final = 12
"""Longer code is left out: a screen full of it answers nothing."""


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading.

    Attributes:
        source: The file.
        page: The file's first heading.
        heading: The section's own.
        blocks: Markdown: paragraphs with the code that belongs to them, items, rows of tables.
    """

    source: str
    page: str
    heading: str
    blocks: tuple[str, ...]


def sections_of(source: str, markdown: str) -> list[Section]:
    """Return a page's sections, without links, images, comments and HTML."""
    found: list[tuple[str, list[str]]] = [(source, [])]
    for kind, text in _pieces(markdown):
        blocks = found[-1][1]
        if kind == "heading":
            found.append((text, []))
        elif kind == "code":
            _add_code(blocks, text)
        else:
            blocks.append(text)
    page = found[1][0] if len(found) > 1 else source
    return [Section(source, page, heading, tuple(b)) for heading, b in found if b]


def is_item(block: str) -> bool:
    """Tell whether a block is an item of a list, or a row of a table."""
    return block.startswith("- ")


def _add_code(blocks: list[str], code: str) -> None:
    """Put code to the paragraph that speaks of it, so that neither is quoted alone."""
    if code.count("\n") <= _CODE_LINES + 1:
        if blocks and not is_item(blocks[-1]):
            code = f"{blocks.pop()}\n\n{code}"
        blocks.append(code)
    elif blocks:
        blocks[-1] = re.sub(r":$", ".", blocks[-1])


def _pieces(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield headings, paragraphs, items, rows and code in their order."""
    lines: list[str] = []
    code: list[str] | None = None
    for line in [*_COMMENT.sub("", markdown).splitlines(), ""]:
        if code is not None:
            code.append(line)
            if _FENCE.match(line):
                yield "code", "\n".join(code)
                code = None
            continue
        heading = _HEADING.match(line)
        item = _ITEM.match(line)
        is_row = line.startswith("|")
        ends = not line.strip() or heading or item or is_row or _FENCE.match(line)
        if ends and lines:
            yield from _paragraph(lines)
            lines = []
        if _FENCE.match(line):
            code = [line]
        elif heading:
            yield "heading", _plain(heading[1])
        elif is_row:
            yield from _row(line)
        elif line.strip():
            lines.append(line)


def _paragraph(lines: list[str]) -> Iterator[tuple[str, str]]:
    if all(line.startswith("    ") for line in lines):
        yield "code", "\n".join(["```", *(line[4:] for line in lines), "```"])
        return
    text = _without_links(" ".join(line.strip() for line in lines))
    if item := _ITEM.match(lines[0]):
        text = f"- {text[item.end() :]}"
    if text and not text.startswith("<"):
        yield "text", text


def _row(line: str) -> Iterator[tuple[str, str]]:
    """Yield a row of a table as an item; its cells that hold links alone are left out."""
    if _RULE.match(line):
        return
    cells = [cell.strip() for cell in _CELLS.split(line.strip().strip("|"))]
    said = [_without_links(cell) for cell in cells if _LINK.sub("", cell).strip(" ,.")]
    if len(said) > 1:
        yield "text", "- " + " — ".join(said).replace("\\|", "|")


def _without_links(markdown: str) -> str:
    return _LINK.sub(r"\1", _IMAGE.sub("", markdown)).strip()


def _plain(markdown: str) -> str:
    return _without_links(markdown).replace("`", "").replace("**", "")
