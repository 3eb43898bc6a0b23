"""The offline responder: answers with passages of the documentation, at a typist's pace."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from inkstream.demo.documentation import Documentation, Passage, documentation
from inkstream.demo.responder import Turn
from inkstream.engine.generation import Result

_TOKEN = re.compile(r"\s*\S{1,12}|\s+")
_TOKEN_S: Final = (0.015, 0.06)
_SENTENCE_S: Final = (0.12, 0.3)
_PASSAGES: Final = 3

_NOTHING: Final = (
    "I found nothing about that in inkstream's documentation, and the documentation is all I "
    "know: I am the offline responder, not a model. Ask me, for example, what happens to an "
    "answer when the server is killed, how a stream is stopped, or what an offset is. With "
    "OPENAI_API_KEY set, a model answers here instead."
)


class OfflineResponder:
    """Answer from the documentation, without a network.

    Args:
        pace: How much slower than usual; 0 gives everything at once.
    """

    name = "the offline responder"
    note = (
        "Offline: answers are passages of inkstream's documentation. "
        "Set OPENAI_API_KEY to have a model answer."
    )

    def __init__(self, pace: float = 1.0, pages: Documentation | None = None) -> None:
        self._pace = pace
        self._pages = pages

    async def answer(self, turns: Sequence[Turn]) -> AsyncIterator[str | Result]:
        """Give the passages that match the last question best."""
        pages = self._pages
        if pages is None:
            pages = await asyncio.to_thread(documentation)
        passages = pages.search(turns[-1].text, _PASSAGES)
        text = _answer_of(passages) if passages else _NOTHING
        chance = random.Random(text)
        for token in _TOKEN.findall(text):
            slow = token.rstrip().endswith((".", ":", "?", "!"))
            low, high = _SENTENCE_S if slow else _TOKEN_S
            await asyncio.sleep(self._pace * chance.uniform(low, high))
            yield token
        yield Result({"passages": len(passages)})


def _answer_of(passages: list[Passage]) -> str:
    count = "This passage" if len(passages) == 1 else "These passages"
    verb = "matches" if len(passages) == 1 else "match"
    parts = [f"{count} of the documentation {verb} your question best:"]
    parts += [f"{p.text}\n— {p.source}, “{p.heading}”" for p in passages]
    return "\n\n".join(parts)
