"""The code blocks of the documentation, with the comments that say how to test each block.

A block in a language that can be checked alone needs no comment. Any other block has a comment
above it. A reader of the page does not see this comment::

    <!-- docs-test: KIND
    statements before the block
    ---
    statements that must hold afterwards
    -->

An ``app`` block is served as ``app.py``, and the ``shell`` and ``browser`` blocks below use this
application. A ``body`` block runs inside ``async with PersistentTextStreaming(…) as streams:``,
after the statements in the comment. A ``pytest`` block is a test module. An ``output`` block is the
output of the Python block above. A ``checked`` block is checked by the test that the comment
names. A ``shown`` block is not run, for the reason that the comment gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
KINDS: Final = ("app", "shell", "browser", "body", "pytest", "output", "checked", "shown", "")

_FENCE = re.compile(
    r"(?:^<!-- docs-test: (?P<kind>\w+)(?P<words>.*?)-->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block of a page.

    Attributes:
        page: The file of the page, relative to the root of the repository.
        line: The line of the opening fence.
        language: The word after the fence, or an empty string.
        kind: One of ``KINDS``.
        before: The statements of the block's comment, up to ``---``.
        after: The statements of the comment after ``---``.
        code: The content of the block.
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
    return [block for page in PAGES for block in blocks_of(page)]
