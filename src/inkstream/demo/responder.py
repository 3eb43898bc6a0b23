"""The interface of those that answer in the demo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the conversation so far."""

    role: Literal["user", "assistant"]
    text: str


class Responder(Protocol):
    """A source of answers.

    Attributes:
        name: Its name in the page.
        note: A sentence about it for the page, or an empty string.
    """

    name: str
    note: str

    def answer(self, turns: Sequence[Turn]) -> AsyncIterator[Any]:
        """Give the answer to the last turn, a piece at a time.

        Raises:
            StreamError: It cannot, in words for the reader.
        """
