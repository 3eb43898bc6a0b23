"""Answers from any endpoint with OpenAI's streamed chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from inkstream.demo.responder import ChatMessage
from inkstream.sources.chat_completions import ChatCompletions

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "gpt-4.1-mini"


class ProviderResponder:
    """Stream a model's answer.

    Args:
        api_key: The bearer token.
        base_url: The URL of the API, such as ``https://api.openai.com/v1``.
        model: The model's name.
    """

    note = ""

    def __init__(self, api_key: str, *, base_url: str, model: str) -> None:
        self._model = ChatCompletions(model, api_key=api_key, base_url=base_url)
        self.name = f"{model} at {urlsplit(base_url).hostname or base_url}"

    def answer(self, turns: Sequence[ChatMessage]) -> AsyncIterator[Any]:
        """Return the model's answer to the conversation."""
        return self._model.answer([{"role": turn.role, "content": turn.text} for turn in turns])
