"""Reads the answers of Anthropic's Messages API."""

from __future__ import annotations

from typing import Any, overload

from inkstream.sources._faults import fault, fault_of_event
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
def anthropic(events: Asynchronous) -> AsyncPieces: ...
@overload
def anthropic(events: Synchronous) -> Pieces: ...
def anthropic(events: Asynchronous | Synchronous) -> AsyncPieces | Pieces:
    """Yield the answer of a streamed message.

    Args:
        events: What ``client.messages.create(…, stream=True)`` returns, awaited or not, or
            ``client.messages.stream(…)``.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(events, MessagesParser())


class MessagesParser:
    """Parse the events of a message."""

    def __init__(self) -> None:
        self._turn = PartWriter()
        self._stopped = False

    def feed(self, event: Any) -> list[Piece]:
        """Return the pieces of an event. Ignore the events that only the SDK adds."""
        turn = self._turn
        match value(event, "type"):
            case "message_start":
                message = value(event, "message")
                turn.model = value(message, "model")
                self._count(value(message, "usage"))
                return [turn.result()]  # stored now, so that a stopped answer can be billed
            case "content_block_start":
                return self._begin(value(event, "index"), value(event, "content_block"))
            case "content_block_delta":
                return self._delta(value(event, "index"), value(event, "delta"))
            case "content_block_stop":
                return turn.end_reasoning() + turn.end_tool(value(event, "index"))
            case "message_delta":
                turn.finish(value(value(event, "delta"), "stop_reason"))
                self._count(value(event, "usage"))
                return [turn.result()]
            case "message_stop":
                self._stopped = True
            case "error":
                raise fault_of_event(value(value(event, "error"), "type"))
        return []

    def _begin(self, index: int, block: Any) -> list[Piece]:
        kind = str(value(block, "type", ""))
        if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            by_provider = kind != "tool_use"
            name = value(block, "name", "")
            return self._turn.tool(index, value(block, "id"), name, by_provider=by_provider)
        if kind.endswith("_tool_result"):
            failed = bool(value(block, "is_error", False))
            content = value(block, "content")
            return self._turn.output(value(block, "tool_use_id", ""), content, failed=failed)
        if kind == "thinking":
            return self._turn.reasoning(value(block, "thinking", ""))
        return self._turn.text(value(block, "text", "")) if kind == "text" else []

    def _delta(self, index: int, delta: Any) -> list[Piece]:
        match value(delta, "type"):
            case "text_delta":
                return self._turn.text(value(delta, "text", ""))
            case "thinking_delta":
                return self._turn.reasoning(value(delta, "thinking", ""))
            case "input_json_delta":
                return self._turn.arguments(index, value(delta, "partial_json", ""))
            case "citations_delta":
                citation = value(delta, "citation")
                return self._turn.source(value(citation, "url"), value(citation, "title"))
        return []

    def _count(self, usage: Any) -> None:
        self._turn.count(
            input_tokens=value(usage, "input_tokens"),
            output_tokens=value(usage, "output_tokens"),
            cached_input_tokens=value(usage, "cache_read_input_tokens"),
            cache_write_input_tokens=value(usage, "cache_creation_input_tokens"),
        )

    def end(self) -> list[Piece]:
        """Return the last pieces of the message."""
        if not self._stopped:
            raise fault("provider_cut")
        return self._turn.end()
