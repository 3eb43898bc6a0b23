"""The project's own documentation, and what of it speaks of a question."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from inkstream.demo.sections import Section, is_item, sections_of

_WORD = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_COMMON_WORDS: Final = """
a about an and any are as at be been but by can could did do does explain for from get give had
happen happens has have how i if in into is it its made make makes me my need no not of on or our
please shall should show so some tell than that the their them then there these they this to us use
used uses using want was we were what when where which who whose why will with work working works
would you your
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_SAME: Final = {
    "cancel": "stop",
    "crash": "kil",
    "dead": "kil",
    "die": "kil",
    "died": "kil",
    "js": "javascript",
    "pg": "postgresql",
    "postgre": "postgresql",
}
_CODE = re.compile(r"```.*?```", re.DOTALL)
_K1, _B = 1.4, 0.6
_HEADING_WEIGHT, _PAGE_WEIGHT = 4, 2
"""A heading says what a section is about: it counts more than the section's words."""
_LEAST_KNOWN: Final = 0.5
"""How much of a question must be found in the documentation, or it is about something else."""
_MOST: Final = 700
"""About how many characters of a section are quoted."""


@dataclass(frozen=True, slots=True)
class Found:
    """A section that speaks of a question, and the blocks of it that do."""

    section: Section
    blocks: tuple[str, ...]


class Documentation:
    """Sections that can be searched (Okapi BM25)."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self._sections = list(sections)
        self._counts = [Counter(_words_of(section)) for section in self._sections]
        lengths = [counts.total() for counts in self._counts]
        self._mean = sum(lengths) / max(1, len(lengths))
        seen = Counter(word for counts in self._counts for word in counts)
        self._weights = {word: self._weight(n) for word, n in seen.items()}

    def search(self, question: str, limit: int) -> list[Found]:
        """Return the sections that match a question best, best first.

        Empty if the documentation does not know most of what the question speaks of.
        """
        words = set(_words(question))
        known = sum(self._weights.get(word, 0) for word in words)
        unknown = sum(word not in self._weights for word in words) * self._weight(0)
        if known < _LEAST_KNOWN * (known + unknown) or not known:
            return []
        scored = [
            (self._score(counts, words), section)
            for counts, section in zip(self._counts, self._sections, strict=True)
        ]
        scored.sort(key=lambda pair: -pair[0])
        best = scored[0][0]
        return [
            Found(section, self._quoted(section, words))
            for score, section in scored[:limit]
            if score >= best / 2
        ]

    def _weight(self, sections_with: int) -> float:
        count = len(self._sections)
        return math.log(1 + (count - sections_with + 0.5) / (sections_with + 0.5))

    def _score(self, counts: Counter[str], words: set[str]) -> float:
        norm = _K1 * (1 - _B + _B * counts.total() / self._mean)
        return sum(
            self._weights[word] * counts[word] * (_K1 + 1) / (counts[word] + norm)
            for word in words
            if word in counts
        )

    def _quoted(self, section: Section, words: set[str]) -> tuple[str, ...]:
        """Return the blocks to quote, in their order: how it begins, then what matches best."""
        places = range(len(section.blocks))
        matches = [self._score(Counter(_words(block)), words) for block in section.blocks]
        begins = 0 if not is_item(section.blocks[0]) else -1
        chosen: list[int] = []
        length = 0
        for place in sorted(places, key=lambda place: (place != begins, -matches[place], place)):
            length += len(section.blocks[place])
            if chosen and length > _MOST:
                break
            chosen.append(place)
        return tuple(section.blocks[place] for place in sorted(chosen))


@functools.cache
def documentation() -> Documentation:
    """Return the documentation that came with this installation, or lies beside this source."""
    return Documentation(
        section for name, text in sorted(_pages()) for section in sections_of(name, text)
    )


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


def _words_of(section: Section) -> list[str]:
    return [
        *(word for block in section.blocks for word in _words(block)),
        *(_words(section.heading) * _HEADING_WEIGHT),
        *(_words(section.page) * _PAGE_WEIGHT),
    ]


def _words(text: str) -> list[str]:
    prose = _CODE.sub("", text.lower())
    return [_stem(word) for word in _WORD.findall(prose) if word not in _COMMON]


def _stem(word: str) -> str:
    """Cut the commonest English endings, so that 'stops', 'stopped' and 'stop' are one."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 2 and word[-1] == word[-2]:
        word = word[:-1]
    return _SAME.get(word, word)
