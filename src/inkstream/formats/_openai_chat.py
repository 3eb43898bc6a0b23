"""Chunks of OpenAI's Chat Completions API, for OpenAI's SDKs and compatible clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from inkstream import wire
from inkstream._types import JSON, End, Status, StreamState
from inkstream.formats._progress import Call, Chunk, PartEncoder
from inkstream.http.formats import Format
from inkstream.wire import RawJSON

_FAILED: Final = "The answer could not be completed."
_REASONS: Final = {
    "length": "length",
    "max_tokens": "length",
    "content-filter": "content_filter",
    "content_filter": "content_filter",
    "tool-calls": "tool_calls",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
}
_USAGE: Final = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}


class OpenAIChatEncoder(PartEncoder):
    """Encode a stream as chunks of one chat completion.

    Text becomes ``content``, and reasoning becomes ``reasoning_content``. A tool call becomes
    ``tool_calls``, unless the provider runs the tool. The format has no place for other parts, so
    the encoder leaves other parts out. If the stream did not end ``done``, the encoder sends an
    ``error``, and OpenAI's SDKs raise an exception.
    """

    counts = True

    def __init__(self, stream: StreamState, state: str) -> None:
        super().__init__(state)
        self._head: dict[str, JSON] = {
            "id": f"chatcmpl-{stream.stream_id}",
            "object": "chat.completion.chunk",
            "created": int(stream.created_at),
            "model": "inkstream",
        }
        head = wire.dump_json(self._head)[:-1]
        self._text = head + b',"choices":[{"index":0,"delta":{"content":"'

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**self._head, "choices": [choice]}

    def end(self, end: End) -> Iterator[Chunk]:
        progress = self._progress
        if progress.phase != "f":
            yield from self.started()
            progress.phase, progress.text = "f", None
            progress.changed()
            if end.status is Status.DONE:
                yield from self.chunk(self._finish(end.result))
            else:
                stopped = end.status is Status.CANCELLED
                message = end.message or ("The answer was stopped." if stopped else _FAILED)
                code = end.code or end.status.value
                error = {"message": message, "type": end.status.value, "code": code, "param": None}
                yield from self.chunk({"error": error})
        yield b"[DONE]", progress.state

    def _finish(self, result: Any) -> dict[str, Any]:
        facts: Mapping[str, Any] = result if isinstance(result, Mapping) else {}
        reason = _REASONS.get(str(facts.get("finish_reason")), "stop")
        chunk = self._delta({}, reason)
        usage = facts.get("usage")
        if isinstance(usage, Mapping):
            counts = {new: usage[old] for old, new in _USAGE.items() if _is_count(usage.get(old))}
            if len(counts) == len(_USAGE):
                chunk["usage"] = {**counts, "total_tokens": sum(counts.values())}
        if isinstance(facts.get("model"), str):
            chunk["model"] = facts["model"]
        return chunk

    def begin(self) -> Any:
        return self._delta({"role": "assistant", "content": ""})

    def text_start(self, position: int) -> Any:
        """Send nothing."""

    def text_delta(self, position: int, text: str) -> bytes:
        return self._text + wire.escape_text(text.encode()) + b'"},"finish_reason":null}]}'

    def text_end(self, position: int) -> Any:
        """Send nothing."""

    def reasoning(self, part: Any, raw: RawJSON, began: int) -> Any:
        return self._delta({"reasoning_content": part["delta"]}) if part.get("delta") else None

    def reasoning_end(self, name: str, position: int) -> Any:
        """Send nothing."""

    def opened(self, part: Any, call: Call) -> Iterator[Chunk]:
        """Open a tool call, unless the provider runs the tool."""
        if part.get("providerExecuted") is True:
            self.has_output(part["toolCallId"])
            self._progress.counted -= 1
            return
        function = {"name": part["toolName"], "arguments": ""}
        tool = {"index": call.index, "id": part["toolCallId"], "type": "function"}
        yield from self.chunk(self._delta({"tool_calls": [{**tool, "function": function}]}))

    def tool(self, part: Any, raw: RawJSON, call: Call | None) -> Iterator[Chunk]:
        name, kind = part["toolCallId"], part["type"]
        if name not in self._progress.calls or call is None:
            return
        if kind == "tool-input-delta":
            self.move(call, "a")
            yield from self._arguments(call, part["inputTextDelta"])
        elif kind == "tool-input-available":
            was = call.phase
            self.move(call, "c")
            if was == "b":
                yield from self._arguments(call, wire.dump_json(part["input"]).decode())
        elif kind != "tool-input-start" and part.get("preliminary") is not True:
            self.has_output(name)

    def _arguments(self, call: Call, text: str) -> Iterator[Chunk]:
        tool = {"index": call.index, "function": {"arguments": text}}
        yield from self.chunk(self._delta({"tool_calls": [tool]}))

    def put(self, part: Any, raw: RawJSON, position: int) -> Iterator[Chunk]:
        yield from ()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


openai_chat: Final = Format(media_type="text/event-stream", encoder=OpenAIChatEncoder)
"""Chunks of one chat completion."""
