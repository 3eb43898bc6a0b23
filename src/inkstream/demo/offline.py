"""Answers without a network: a few prepared texts, sent word by word with short pauses."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from inkstream.demo.responder import ChatMessage
from inkstream.engine.generation import Result

_TOKEN = re.compile(r"\s*\S{1,12}|\s+")
_TOKEN_S: Final = (0.015, 0.06)
_SENTENCE_S: Final = (0.12, 0.3)

_NO_MODEL: Final = (
    "I am not a model: I send one of a few prepared texts, so that you can watch a text being "
    "written and stored. Set OPENAI_API_KEY, and a model answers here instead.\n\n"
)

_KILL: Final = (
    "Kill the server now, with kill -9 and the pid that it printed, and start it again.\n\n"
    "Every character that you have seen is still here, because no character is shown before it is "
    "committed to the database. The answer itself ends as interrupted: its writer died, and the "
    "sweeper of the new process noticed. Nothing is run again automatically, but a job could take "
    "the stream over and continue after the stored text.\n\n"
    "Readers that were connected reconnect by themselves, each at the last offset that it has. "
    "No word is missing, and no word comes twice."
)

_STOP: Final = (
    "Press Stop, in this pane or in the other pane: a Stop works from any window and any process."
    "\n\n"
    "A Stop is a change in the database, not a broken connection. The text that was shown stays, "
    "the stream ends as stopped, and the writer's next word is refused. If you close the window, "
    "nothing stops: the answer goes on, and is here when you come back."
)

_RELOAD: Final = (
    "Reload one pane while this text is being written, and watch the other pane go on.\n\n"
    "Both panes read the same stream in a database, each at an offset. The pane that asked gets "
    "the text in the same way as the other pane. So a reload, a second window and another user "
    "are the same case: a reader that begins at an offset. A page never shows text that the "
    "database does not have."
)

_ANSWERS: Final = (
    (frozenset({"kill", "killed", "crash", "crashes", "dies", "restart", "lost"}), _KILL),
    (frozenset({"stop", "cancel", "abort", "interrupt"}), _STOP),
)


class OfflineResponder:
    """Answer with a prepared text, without a network.

    Args:
        pace: Factor for all delays; with 0, the whole text is sent immediately.
    """

    name = "a few prepared texts"
    note = "Offline: answers are prepared texts. Set OPENAI_API_KEY and a model answers."

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace

    async def answer(self, turns: Sequence[ChatMessage]) -> AsyncIterator[str | Result]:
        """Send the prepared text that fits a word of the last question.

        If no text fits, send the text about reloads.
        """
        words = set(re.findall(r"\w+", turns[-1].text.lower()))
        text = _NO_MODEL + next((text for known, text in _ANSWERS if words & known), _RELOAD)
        chance = random.Random(text)
        for token in _TOKEN.findall(text):
            slow = token.rstrip().endswith((".", ":", "?", "!"))
            low, high = _SENTENCE_S if slow else _TOKEN_S
            await asyncio.sleep(self._pace * chance.uniform(low, high))
            yield token
        yield Result({"characters": len(text)})
