"""Who answers in the demo: a model behind an OpenAI-compatible endpoint, or the documentation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from inkstream.engine.generation import Result


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the conversation so far."""

    role: Literal["user", "assistant"]
    text: str


class Responder(Protocol):
    """Whatever answers.

    Attributes:
        name: What the page calls it.
        note: A sentence about it for the page, or an empty string.
    """

    name: str
    note: str

    def answer(self, turns: Sequence[Turn]) -> AsyncIterator[str | Result]:
        """Give the answer to the last turn, a piece at a time.

        Raises:
            StreamError: It cannot, in words for the reader.
        """


def choose_responder(environment: Mapping[str, str] = os.environ) -> Responder:
    """Return the provider that ``OPENAI_API_KEY`` speaks of, or else the offline responder."""
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not key:
        from inkstream.demo.offline import OfflineResponder

        return OfflineResponder()
    from inkstream.demo.provider import DEFAULT_BASE_URL, DEFAULT_MODEL, ProviderResponder

    return ProviderResponder(
        key,
        base_url=environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
        model=environment.get("OPENAI_MODEL") or DEFAULT_MODEL,
    )
