"""Reads answers of OpenAI's Chat Completions, and of LiteLLM, Ollama, vLLM and OpenRouter."""

from __future__ import annotations

from typing import Any, overload

from inkstream.sources._faults import fault_of_event
from inkstream.sources._reading import (
    Asynchronous,
    AsyncPieces,
    Piece,
    Pieces,
    Synchronous,
    pieces,
    value,
)
from inkstream.sources._turn import PartWriter


@overload
def openai_chat(chunks: Asynchronous) -> AsyncPieces: ...
@overload
def openai_chat(chunks: Synchronous) -> Pieces: ...
def openai_chat(chunks: Asynchronous | Synchronous) -> AsyncPieces | Pieces:
    """Yield the answer of a streamed chat completion.

    Reasoning (``reasoning_content`` or ``reasoning``) becomes ``reasoning-…`` parts. Tool calls
    become ``tool-input-…`` parts. To get the usage, send ``stream_options={"include_usage": True}``
    with the request.

    Args:
        chunks: What ``client.chat.completions.create(…, stream=True)`` returns, awaited or not,
            or chunks as mappings.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(chunks, ChatParser())


class ChatParser:
    """Parse chunks of chat completions."""

    def __init__(self) -> None:
        self._turn = PartWriter()

    def feed(self, event: Any) -> list[Piece]:
        """Return the pieces of a chunk."""
        turn = self._turn
        error = value(event, "error")
        if error is not None:
            raise fault_of_event(value(error, "code") or value(error, "type"))
        turn.model = value(event, "model", turn.model) or turn.model
        made: list[Piece] = []
        for choice in value(event, "choices", ()):
            if value(choice, "index", 0) == 0:
                made += self._choice(choice)
        usage = value(event, "usage")
        if usage is not None:
            self._count(usage)
            made.append(turn.result())
        return made

    def _choice(self, choice: Any) -> list[Piece]:
        turn = self._turn
        delta = value(choice, "delta", {})
        made = turn.reasoning(value(delta, "reasoning_content") or value(delta, "reasoning", ""))
        made += turn.text(value(delta, "content", ""))
        made += turn.text(value(delta, "refusal", ""))
        for call in value(delta, "tool_calls", ()):
            made += self._call(call)
        reason = value(choice, "finish_reason")
        if reason:
            turn.finish(reason)
            made += turn.close()
        return made

    def _call(self, call: Any) -> list[Piece]:
        turn = self._turn
        key, call_id = value(call, "index", 0), value(call, "id")
        function = value(call, "function", {})
        begun: list[Piece] = []
        # Some providers send each call in one piece. The calls have different ids, but all have the
        # index 0.
        if not turn.has_tool(key, call_id):
            begun = turn.tool(key, call_id, value(function, "name", ""))
        return begun + turn.arguments(key, value(function, "arguments", ""))

    def _count(self, usage: Any) -> None:
        self._turn.count(
            input_tokens=value(usage, "prompt_tokens"),
            output_tokens=value(usage, "completion_tokens"),
            total_tokens=value(usage, "total_tokens"),
            cached_input_tokens=value(value(usage, "prompt_tokens_details"), "cached_tokens"),
            reasoning_tokens=value(value(usage, "completion_tokens_details"), "reasoning_tokens"),
        )

    def end(self) -> list[Piece]:
        """Return the last pieces of the answer: the ends of open parts, and the result."""
        return self._turn.end()
