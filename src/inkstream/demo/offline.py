"""Answers without a network: a few prepared texts, sent at the speed of a typist."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from inkstream.demo.responder import Turn
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
    "Every character that you have seen is still here, because none is shown before it is "
    "committed to the database. The answer itself ends as interrupted: its writer died, and the "
    "sweeper of the new process noticed. Nothing is run again by itself; a job could take the "
    "stream over and go on where it stopped.\n\n"
    "Readers that were connected come back by themselves, each from the last offset that it has. "
    "No word is missing, and none comes twice."
)

_STOP: Final = (
    "Press Stop, in this pane or in the other one: it works from any window and any process.\n\n"
    "Stop is a change in the database, not a broken connection. What was shown stays, the stream "
    "ends as stopped, and the writer's next word is refused. Closing the window stops nothing: "
    "the answer goes on without you, and is here when you come back."
)

_RELOAD: Final = (
    "Reload one pane while this is being written, and watch the other one go on.\n\n"
    "Both panes read one log in a database, each at an offset. The pane that asked has no other "
    "way to get the text than the pane that only looks on, so a reload, a second window, another "
    "user and tomorrow are one and the same thing: a reader that begins at an offset. There is no "
    "moment at which the screen and the database can disagree."
)

_ANSWERS: Final = (
    (frozenset({"kill", "killed", "crash", "crashes", "dies", "restart", "lost"}), _KILL),
    (frozenset({"stop", "cancel", "abort", "interrupt"}), _STOP),
)


class OfflineResponder:
    """Answer with a prepared text, without a network.

    Args:
        pace: Factor for all delays; 0 sends everything immediately.
    """

    name = "a few prepared texts"
    note = "Offline: answers are prepared texts. Set OPENAI_API_KEY and a model answers."

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace

    async def answer(self, turns: Sequence[Turn]) -> AsyncIterator[str | Result]:
        """Send the text that fits the last question best."""
        words = set(re.findall(r"\w+", turns[-1].text.lower()))
        text = _NO_MODEL + next((text for known, text in _ANSWERS if words & known), _RELOAD)
        chance = random.Random(text)
        for token in _TOKEN.findall(text):
            slow = token.rstrip().endswith((".", ":", "?", "!"))
            low, high = _SENTENCE_S if slow else _TOKEN_S
            await asyncio.sleep(self._pace * chance.uniform(low, high))
            yield token
        yield Result({"characters": len(text)})
