"""The project's own documentation as passages, and which of them speak of something."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

_WORD = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ITEM = re.compile(r"\s*(?:[-*+]|[0-9]+\.)\s+")
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1", re.DOTALL)
_COMMON_WORDS: Final = """
a about an and are as at be been but by can could did do does explain for from had happen happens
has have how i if in into is it its me my no not of on or our please shall should so some tell than
that the their them then there these they this to was we were what when where which who whose why
will with would you your
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_SHORTEST: Final = 60
_LONGEST: Final = 1200
_K1, _B = 1.4, 0.6


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of the documentation: where it stands, and its plain text."""

    source: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class _Entry:
    passage: Passage
    counts: Counter[str]
    length: int


class Documentation:
    """Passages that can be searched (Okapi BM25 over paragraphs)."""

    def __init__(self, passages: list[Passage]) -> None:
        self._entries = []
        for passage in passages:
            # A heading says what its paragraphs are about: it counts more than their words.
            words = [*_words(passage.text), *(_words(passage.heading) * 3)]
            self._entries.append(_Entry(passage, Counter(words), len(words)))
        self._mean = sum(entry.length for entry in self._entries) / max(1, len(self._entries))
        seen = Counter(word for entry in self._entries for word in entry.counts)
        count = len(self._entries)
        self._weights = {
            word: math.log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in seen.items()
        }

    def search(self, question: str, limit: int) -> list[Passage]:
        """Return the passages that match a question best, best first; perhaps none."""
        words = set(_words(question))
        scored = [(self._score(entry, words), entry.passage) for entry in self._entries]
        scored.sort(key=lambda pair: -pair[0])
        best = scored[0][0] if scored else 0.0
        return [passage for score, passage in scored[:limit] if score > 0 and score >= best / 2]

    def _score(self, entry: _Entry, words: set[str]) -> float:
        norm = _K1 * (1 - _B + _B * entry.length / self._mean)
        return sum(
            self._weights[word] * entry.counts[word] * (_K1 + 1) / (entry.counts[word] + norm)
            for word in words
            if word in entry.counts
        )


@functools.cache
def documentation() -> Documentation:
    """Return the documentation that came with this installation, or lies beside this source."""
    passages = [passage for name, text in sorted(_pages()) for passage in passages_of(name, text)]
    return Documentation(passages)


def _pages() -> Iterator[tuple[str, str]]:
    shipped: Traversable = files("inkstream.demo") / "manual"
    root: Traversable = shipped if shipped.is_dir() else Path(__file__).parents[3]
    readme = root / "README.md"
    if readme.is_file():
        yield "README.md", readme.read_text(encoding="utf-8")
    yield from _markdown(root / "docs", "docs/")


def _markdown(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "decisions":  # those are for who works on inkstream
            yield from _markdown(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".md") and "template" not in entry.name:
            yield prefix + entry.name, entry.read_text(encoding="utf-8")


def passages_of(source: str, markdown: str) -> Iterator[Passage]:
    """Yield a page's paragraphs as plain text, each under its heading.

    An item of a list and a row of a table are passages too. Code and HTML are left out: a token
    at a time they make no sense.
    """
    heading = source
    lines: list[str] = []
    in_code = False
    for line in [*markdown.splitlines(), ""]:
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
            continue
        if in_code or (line.startswith("    ") and not lines):
            continue
        title = _HEADING.match(line)
        if line.startswith("|"):
            yield from _passage(source, heading, [_row(line)])
            continue
        if line.strip() and not title:
            lines.append(line)
            continue
        yield from _passage(source, heading, lines)
        lines = []
        if title:
            heading = _plain(title[2])
    yield from _passage(source, heading, lines)


def _passage(source: str, heading: str, lines: list[str]) -> Iterator[Passage]:
    """Yield the paragraph, or each item if it is a list."""
    if not lines or lines[0].lstrip().startswith(("<", "---")):
        return
    items: list[list[str]] = []
    for line in lines:
        item = _ITEM.match(line)
        if item or not items:
            items.append([])
        items[-1].append(line[item.end() :] if item else line.strip())
    for item_lines in items:
        text = _plain(" ".join(item_lines))
        if _SHORTEST <= len(text) <= _LONGEST:
            yield Passage(source, heading, text)


def _row(line: str) -> str:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
    return " — ".join(cell for cell in cells if cell.strip("-: "))


def _plain(markdown: str) -> str:
    text = _LINK.sub(r"\1", markdown)
    return _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", text)).strip()  # **`one in the other`**


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


def _stem(word: str) -> str:
    """Cut the commonest English endings, so that 'streams', 'streamed' and 'stream' are one."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
