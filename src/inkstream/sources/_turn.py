"""Tracks which reasoning and tool calls are open while a model's message arrives."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from inkstream._types import JSON
from inkstream.engine.generation import Result
from inkstream.sources._faults import fault
from inkstream.sources._reading import Piece

_FINISH_REASONS: Final = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool-calls",
    "tool_call": "tool-calls",
    "tool_use": "tool-calls",
    "tool-calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
    "content-filter": "content-filter",
    "refusal": "content-filter",
    "safety": "content-filter",
    "recitation": "content-filter",
    "blocklist": "content-filter",
    "prohibited_content": "content-filter",
    "spii": "content-filter",
    "error": "error",
}
"""For a provider's finish reason, the AI SDK's word, which the stream stores.

For a reason that is not in this table, the word is ``other``.
"""


@dataclass(slots=True)
class _Tool:
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    by_provider: bool = False


class PartWriter:
    """Produce the parts of a model's message, so that each part begins once and ends once."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: dict[str, int] = {}
        self.called_tools = False
        self._reasoning: str | None = None
        self._tools: dict[object, _Tool] = {}
        self._sources = 0

    def text(self, text: str) -> list[Piece]:
        """Add text to the answer."""
        return [*self.end_reasoning(), text] if text else []

    def reasoning(self, text: str) -> list[Piece]:
        """Add text to the reasoning. The first text opens a reasoning part."""
        if not text:
            return []
        begun: list[Piece] = []
        if self._reasoning is None:
            self._reasoning = f"reasoning-{secrets.token_hex(4)}"
            begun.append({"type": "reasoning-start", "id": self._reasoning})
        return [*begun, {"type": "reasoning-delta", "id": self._reasoning, "delta": text}]

    def end_reasoning(self) -> list[Piece]:
        """Close the reasoning, if it is open."""
        part, self._reasoning = self._reasoning, None
        return [] if part is None else [{"type": "reasoning-end", "id": part}]

    def tool(
        self, key: object, call_id: str | None, name: str, *, by_provider: bool = False
    ) -> list[Piece]:
        """Open a tool call; ``key`` identifies the call in later events."""
        closed = [*self.end_reasoning(), *self.end_tool(key)]
        tool = _Tool(call_id or f"call-{secrets.token_hex(6)}", name, by_provider=by_provider)
        self._tools[key] = tool
        self.called_tools = self.called_tools or not by_provider
        start: dict[str, Any] = {"type": "tool-input-start", "toolCallId": tool.call_id}
        start["toolName"] = name
        if by_provider:
            start["providerExecuted"] = True
        return [*closed, start]

    def has_tool(self, key: object, call_id: str | None = None) -> bool:
        """Return whether the call with this ``key`` is open.

        If ``call_id`` is given, the call must also have this id, because some providers give two
        calls the same key.
        """
        tool = self._tools.get(key)
        return tool is not None and call_id in (None, "", tool.call_id)

    def arguments(self, key: object, text: str) -> list[Piece]:
        """Add JSON text to a call's arguments."""
        tool = self._tools.get(key)
        if tool is None or not text:
            return []
        tool.arguments.append(text)
        return [{"type": "tool-input-delta", "toolCallId": tool.call_id, "inputTextDelta": text}]

    def end_tool(self, key: object, arguments: Any = None) -> list[Piece]:
        """Close a call's arguments. If ``arguments`` is given, it replaces the received text."""
        tool = self._tools.pop(key, None)
        if tool is None:
            return []
        text = "".join(tool.arguments)
        part: dict[str, Any] = {"toolCallId": tool.call_id, "toolName": tool.name}
        if tool.by_provider:
            part["providerExecuted"] = True
        if arguments is None or isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or text or "{}")
            except ValueError:
                error = "The arguments are not JSON."
                return [{"type": "tool-input-error", **part, "input": text, "errorText": error}]
        return [{"type": "tool-input-available", **part, "input": plain(arguments)}]

    def output(self, call_id: str, output: Any, *, failed: bool = False) -> list[Piece]:
        """Add a tool's output. With ``failed``, readers get ``output`` as the text of an error."""
        if failed:
            text = output if isinstance(output, str) else json.dumps(plain(output))
            return [{"type": "tool-output-error", "toolCallId": call_id, "errorText": text}]
        return [{"type": "tool-output-available", "toolCallId": call_id, "output": plain(output)}]

    def source(self, url: str | None, title: str | None) -> list[Piece]:
        """Add a web page that the answer cites."""
        if not url:
            return []
        self._sources += 1
        part: dict[str, Any] = {"type": "source-url", "sourceId": f"source-{self._sources}"}
        return [part | {"url": url} | ({"title": title} if title else {})]

    def count(self, **usage: Any) -> None:
        """Record how many tokens were used so far; ``None`` means unknown."""
        self.usage |= {name: n for name, n in usage.items() if isinstance(n, int)}

    def finish(self, reason: object) -> None:
        """Record the provider's reason why the model stopped."""
        word = str(getattr(reason, "name", reason)).lower()
        self.finish_reason = _FINISH_REASONS.get(word, "other")

    def close(self) -> list[Piece]:
        """Close the open reasoning and all open tool calls."""
        made = self.end_reasoning()
        for key in list(self._tools):
            made += self.end_tool(key)
        return made

    def result(self) -> Result:
        """Return the value to store with the end, as far as the value is known now."""
        known: dict[str, JSON] = {"finish_reason": self.finish_reason, "model": self.model}
        return Result(known | {"usage": dict(self.usage)})

    def end(self) -> list[Piece]:
        """End the message.

        Raises:
            StreamError: The provider gave no reason for the stop, so the answer was cut off.
        """
        if self.finish_reason is None:
            raise fault("provider_cut")
        return [*self.close(), self.result()]


def plain(thing: Any) -> Any:
    """Return a tool's value as JSON. If JSON cannot hold the value, return ``str(thing)``."""
    try:
        return json.loads(json.dumps(thing, default=_dumped, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return str(thing)


def _dumped(thing: Any) -> Any:
    for name in ("model_dump", "dict", "to_dict"):
        dump = getattr(thing, name, None)
        if callable(dump):
            return dump()
    return str(thing)
