"""The interface of the demo's responders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of the conversation so far."""

    role: Literal["user", "assistant"]
    text: str


class Responder(Protocol):
    """A source of answers.

    Attributes:
        name: The responder's name in the page.
        note: A sentence about the responder for the page, or an empty string.
    """

    name: str
    note: str

    def answer(self, turns: Sequence[ChatMessage]) -> AsyncIterator[Any]:
        """Return the answer to the last turn, in pieces.

        Raises:
            StreamError: No answer is possible. The error's message is for the reader.
        """
