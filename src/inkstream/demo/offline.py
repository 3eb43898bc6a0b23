"""The offline responder: answers with the documentation's own words, at a typist's pace."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from inkstream.demo.documentation import Documentation, Found, documentation
from inkstream.demo.responder import Turn
from inkstream.demo.sections import is_item
from inkstream.engine.generation import Result

_TOKEN = re.compile(r"\s*\S{1,12}|\s+")
_TOKEN_S: Final = (0.015, 0.06)
_SENTENCE_S: Final = (0.12, 0.3)
_SECTIONS: Final = 3

_NOTHING: Final = (
    "I do not know. I am no model, only inkstream's documentation, and it says nothing about that. "
    "It does answer, for example:\n\n"
    "- What is inkstream?\n"
    "- How do I stop an answer?\n"
    "- What happens when the server is killed?\n\n"
    "With `OPENAI_API_KEY` set, a model answers here instead."
)


class OfflineResponder:
    """Answer from the documentation, without a network.

    Args:
        pace: How much slower than usual; 0 gives everything at once.
    """

    name = "the offline responder"
    note = (
        "Offline: answers are quoted from inkstream's documentation. "
        "Set OPENAI_API_KEY to have a model answer."
    )

    def __init__(self, pace: float = 1.0, pages: Documentation | None = None) -> None:
        self._pace = pace
        self._pages = pages

    async def answer(self, turns: Sequence[Turn]) -> AsyncIterator[str | Result]:
        """Quote what matches the last question best, or say that nothing does."""
        pages = self._pages
        if pages is None:
            pages = await asyncio.to_thread(documentation)
        found = pages.search(turns[-1].text, _SECTIONS)
        text = _answer_of(found) if found else _NOTHING
        chance = random.Random(text)
        for token in _TOKEN.findall(text):
            slow = token.rstrip().endswith((".", ":", "?", "!"))
            low, high = _SENTENCE_S if slow else _TOKEN_S
            await asyncio.sleep(self._pace * chance.uniform(low, high))
            yield token
        yield Result({"sections": len(found)})


def _answer_of(found: list[Found]) -> str:
    best, *others = found
    text = ""
    for block in best.blocks:
        text += "\n" if text and is_item(block) else "\n\n"
        text += block
    text += f"\n\n*From {_name(best)}."
    if others:
        text += f" See also {' and '.join(map(_name, others))}."
    return text.strip() + "*"


def _name(found: Found) -> str:
    return f"{found.section.source}, “{found.section.heading}”"
