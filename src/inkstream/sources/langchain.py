"""Reads the answers of LangChain's models and LangGraph's graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, overload

from inkstream.sources._faults import fault
from inkstream.sources._reading import (
    Asynchronous,
    AsyncPieces,
    Piece,
    Pieces,
    Synchronous,
    pieces,
    value,
)
from inkstream.sources._turn import PartWriter, plain

_SAY_WHY: Final = frozenset({"openai", "anthropic", "google_genai", "google_vertexai", "deepseek"})
"""Providers that always say why an answer stopped.

If such a provider gives no reason, its answer broke off.
"""
_MODES: Final = frozenset({"messages", "custom", "updates", "values", "debug", "tasks"})


@overload
def langchain(events: Asynchronous) -> AsyncPieces: ...
@overload
def langchain(events: Synchronous) -> Pieces: ...
def langchain(events: Asynchronous | Synchronous) -> AsyncPieces | Pieces:
    """Yield the output of a model or a graph: text, reasoning, tool calls and their results.

    Output of nodes with ``stream_mode="custom"`` becomes ``data-custom`` parts.

    Args:
        events: ``model.astream(…)``, or ``graph.astream(state, stream_mode="messages")`` (also
            with several modes, and with ``subgraphs=True``), or the synchronous ``model.stream(…)``
            and ``graph.stream(…)``.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(events, _MessageParser())


class _MessageParser:
    def __init__(self) -> None:
        self._turn = PartWriter()
        self._message: object = None
        self._provider: str | None = None
        self._seen = False
        self._usage: dict[object, dict[str, Any]] = {}

    def feed(self, event: Any) -> list[Piece]:
        mode, payload = _unpacked(event)
        if mode == "custom":
            return [{"type": "data-custom", "data": plain(payload)}]
        if mode != "messages":
            return []
        match str(value(payload, "type", "")):
            case "ai" | "AIMessageChunk":
                return self._answer(payload)
            case "tool":
                failed = value(payload, "status") == "error"
                call_id = value(payload, "tool_call_id", "")
                return self._turn.output(call_id, value(payload, "content"), failed=failed)
        return []

    def _answer(self, message: Any) -> list[Piece]:
        turn = self._turn
        made: list[Piece] = []
        if value(message, "id") != self._message:  # the graph called a model again
            made += self._end_message()
            self._message, self._provider = value(message, "id"), None
            turn.finish_reason = None
        self._seen = True
        metadata = value(message, "response_metadata", {})
        self._provider = value(metadata, "model_provider", self._provider)
        turn.model = value(metadata, "model_name", turn.model) or value(metadata, "model")
        made += self._content(message)
        chunks = value(message, "tool_call_chunks")
        if chunks is None:
            for call in value(message, "tool_calls", ()):
                made += turn.tool(value(call, "id"), value(call, "id"), value(call, "name", ""))
                made += turn.end_tool(value(call, "id"), value(call, "args", {}))
        for call in chunks or ():
            made += self._call(call)
        self._count(value(message, "usage_metadata"))
        reason = value(metadata, "finish_reason") or value(metadata, "stop_reason")
        if reason:
            turn.finish(reason)
            made += turn.close()
        return made

    def _content(self, message: Any) -> list[Piece]:
        turn, content = self._turn, value(message, "content", "")
        extra = value(value(message, "additional_kwargs", {}), "reasoning_content", "")
        made = turn.reasoning(extra)
        if isinstance(content, str):
            return made + turn.text(content)
        for block in content:
            if isinstance(block, str):
                made += turn.text(block)
                continue
            match value(block, "type"):
                case "text":
                    made += turn.text(value(block, "text", ""))
                case "thinking":
                    made += turn.reasoning(value(block, "thinking", ""))
                case "reasoning":
                    summary = value(block, "summary", ())
                    texts = [value(item, "text", "") for item in summary]
                    made += turn.reasoning(value(block, "reasoning", "") or "".join(texts))
        return made

    def _call(self, call: Any) -> list[Piece]:
        key, call_id = (self._message, value(call, "index", 0)), value(call, "id")
        begun: list[Piece] = []
        if not self._turn.has_tool(key, call_id):
            begun = self._turn.tool(key, call_id, value(call, "name", ""))
        return begun + self._turn.arguments(key, value(call, "args", ""))

    def _count(self, usage: Any) -> None:
        if usage is None:
            return
        # Add up the usage, because each chunk contains only its share of the message's usage.
        own = self._usage.setdefault(self._message, {})
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            own[name] = own.get(name, 0) + value(usage, name, 0)
        for name in own:
            self._turn.usage[name] = sum(each[name] for each in self._usage.values())

    def _end_message(self) -> list[Piece]:
        if self._seen and self._turn.finish_reason is None and self._provider in _SAY_WHY:
            raise fault("provider_cut")
        return self._turn.close()

    def end(self) -> list[Piece]:
        made = self._end_message()
        if self._turn.finish_reason is None and self._seen:
            self._turn.finish("stop")  # this provider need not say why an answer stopped
        if not self._seen:
            self._turn.finish("other")
        return made + self._turn.end()


def _unpacked(event: Any) -> tuple[str, Any]:
    """Return an event's mode and payload. The options of ``astream`` choose the event's shape."""
    if isinstance(event, Mapping) and event.get("type") in _MODES and "data" in event:
        return _unpacked((event["type"], event["data"]))
    if not isinstance(event, tuple):
        return "messages", event
    if len(event) == 3:
        return _unpacked(event[1:])  # (namespace, mode, payload)
    first, second = event
    if isinstance(first, tuple):
        return _unpacked(second)  # (namespace, payload)
    if isinstance(first, str):
        return first, second[0] if first == "messages" else second
    return "messages", first  # (message, metadata)
