"""The code blocks of the documentation, with the comments that say how to test each.

A block in a language that can be checked alone needs no comment. Any other has a comment above
it, invisible to readers::

    <!-- docs-test: KIND
    statements before the block
    ---
    statements that must hold afterwards
    -->

``app`` is served as ``app.py``; the ``shell`` and ``browser`` blocks below use it. ``body`` runs
inside ``async with PersistentTextStreaming(…) as streams:``, after the statements in the comment.
``pytest`` is a test module. ``output`` is the output of the Python block above. The named test
compares a ``compared`` block. A ``shown`` block is not run, for the given reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
KINDS: Final = ("app", "shell", "browser", "body", "pytest", "output", "compared", "shown", "")

_FENCE = re.compile(
    r"(?:^<!-- docs-test: (?P<kind>\w+)(?P<words>.*?)-->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block of a page.

    Attributes:
        page: Its file, relative to the root of the repository.
        line: The line of its fence.
        language: The word after the fence, or nothing.
        kind: One of ``KINDS``.
        before: The statements of its comment, up to ``---``.
        after: The statements after ``---``.
        code: Its content.
    """

    page: str
    line: int
    language: str
    kind: str
    before: str
    after: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    text = page.read_text()
    fences = 0
    for match in _FENCE.finditer(text):
        before, _, after = (match["words"] or "").partition("\n---\n")
        fences += 2
        yield Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            kind=match["kind"] or "",
            before=before.strip(),
            after=after.strip(),
            code=match["code"],
        )
    found = len(re.findall(r"^ *```", text, re.MULTILINE))
    assert fences == found, f"{page}: {found} fences, of which {fences} were understood"


def all_blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    return [block for page in PAGES for block in blocks_of(page)]
