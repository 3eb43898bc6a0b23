"""Reads the answers of OpenAI's Responses API."""

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
def openai_responses(events: Asynchronous) -> AsyncPieces: ...
@overload
def openai_responses(events: Synchronous) -> Pieces: ...
def openai_responses(events: Asynchronous | Synchronous) -> AsyncPieces | Pieces:
    """Yield the answer of a streamed response.

    Args:
        events: What ``client.responses.create(…, stream=True)`` returns, awaited or not, or
            ``client.responses.stream(…)``.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(events, ResponsesParser())


_BY_PROVIDER = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"}
)


class ResponsesParser:
    """Parse the events of responses. An agent's run may have several responses in sequence."""

    def __init__(self) -> None:
        self._turn = PartWriter()
        self._summary: object = None

    def feed(self, event: Any) -> list[Piece]:
        """Return the pieces of an event."""
        turn = self._turn
        kind = str(value(event, "type", ""))
        match kind.removeprefix("response."):
            case "output_text.delta" | "refusal.delta":
                return turn.text(value(event, "delta", ""))
            case "reasoning_text.delta" | "reasoning_summary_text.delta":
                return self._reasoning(event)
            case "output_item.added":
                return self._added(value(event, "item"))
            case "function_call_arguments.delta" | "mcp_call_arguments.delta":
                return turn.arguments(value(event, "item_id"), value(event, "delta", ""))
            case "output_item.done":
                return self._done(value(event, "item"))
            case "output_text.annotation.added":
                note = value(event, "annotation")
                return turn.source(value(note, "url"), value(note, "title"))
            case "created":
                turn.finish_reason = None
                turn.model = value(value(event, "response"), "model", turn.model)
            case "completed" | "incomplete":
                return self._finished(value(event, "response"))
            case "failed":
                raise fault_of_event(value(value(value(event, "response"), "error"), "code"))
            case "error":
                raise fault_of_event(value(event, "code"))
        return []

    def _reasoning(self, event: Any) -> list[Piece]:
        run = (value(event, "item_id"), value(event, "summary_index"))
        ended = self._turn.end_reasoning() if run != self._summary else []
        self._summary = run
        return ended + self._turn.reasoning(value(event, "delta", ""))

    def _added(self, item: Any) -> list[Piece]:
        key, kind = value(item, "id"), value(item, "type")
        if kind in ("function_call", "custom_tool_call"):
            return self._turn.tool(key, value(item, "call_id"), value(item, "name", ""))
        if kind in _BY_PROVIDER:
            name = value(item, "name") or kind.removesuffix("_call")
            return self._turn.tool(key, key, name, by_provider=True)
        return []

    def _done(self, item: Any) -> list[Piece]:
        key, kind = value(item, "id"), value(item, "type")
        if kind == "reasoning":
            return self._turn.end_reasoning()
        if kind == "function_call":
            return self._turn.end_tool(key, value(item, "arguments"))
        if kind == "custom_tool_call":
            return self._turn.end_tool(key, {"input": value(item, "input", "")})
        if kind not in _BY_PROVIDER or not self._turn.has_tool(key):
            return []
        given = ("arguments", "action", "queries", "code")
        arguments: Any = next((found for name in given if (found := value(item, name))), {})
        ended = self._turn.end_tool(key, arguments)
        failed = value(item, "error")
        output = failed or value(item, "output") or value(item, "results") or value(item, "status")
        return ended + self._turn.output(key, output, failed=failed is not None)

    def _finished(self, response: Any) -> list[Piece]:
        turn = self._turn
        reason = value(value(response, "incomplete_details"), "reason")
        turn.finish(reason or ("tool_calls" if turn.called_tools else "stop"))
        turn.called_tools = False
        turn.model = value(response, "model", turn.model)
        usage = value(response, "usage")
        if usage is not None:
            self._count(usage)
        return [*turn.close(), turn.result()]

    def _count(self, usage: Any) -> None:
        details, out = value(usage, "input_tokens_details"), value(usage, "output_tokens_details")
        now = {
            "input_tokens": value(usage, "input_tokens"),
            "output_tokens": value(usage, "output_tokens"),
            "total_tokens": value(usage, "total_tokens"),
            "cached_input_tokens": value(details, "cached_tokens"),
            "reasoning_tokens": value(out, "reasoning_tokens"),
        }
        for name, tokens in now.items():
            if isinstance(tokens, int):
                self._turn.usage[name] = self._turn.usage.get(name, 0) + tokens

    def end(self) -> list[Piece]:
        """Return the last pieces of the message."""
        return self._turn.end()
