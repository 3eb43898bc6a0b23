"""What is open in a model's message while it comes: a run of reasoning, and calls of tools."""

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
"""Each provider's words, in the AI SDK's, which is what is stored."""


@dataclass(slots=True)
class _Tool:
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    by_provider: bool = False


class Turn:
    """Make the parts of a model's message, so that each is begun once, ended once, in order."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: dict[str, int] = {}
        self.called_tools = False
        self._reasoning: str | None = None
        self._tools: dict[object, _Tool] = {}
        self._sources = 0

    def text(self, text: str) -> list[Piece]:
        """Go on with the answer's text."""
        return [*self.end_reasoning(), text] if text else []

    def reasoning(self, text: str) -> list[Piece]:
        """Go on with the reasoning, which begins with its first text."""
        if not text:
            return []
        begun: list[Piece] = []
        if self._reasoning is None:
            self._reasoning = f"reasoning-{secrets.token_hex(4)}"
            begun.append({"type": "reasoning-start", "id": self._reasoning})
        return [*begun, {"type": "reasoning-delta", "id": self._reasoning, "delta": text}]

    def end_reasoning(self) -> list[Piece]:
        """End the run of reasoning, if one is open."""
        part, self._reasoning = self._reasoning, None
        return [] if part is None else [{"type": "reasoning-end", "id": part}]

    def tool(
        self, key: object, call_id: str | None, name: str, *, by_provider: bool = False
    ) -> list[Piece]:
        """Begin a call of a tool; ``key`` names it in what follows."""
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
        """Tell if this call is open; some providers number two calls alike, with other ids."""
        tool = self._tools.get(key)
        return tool is not None and call_id in (None, "", tool.call_id)

    def arguments(self, key: object, text: str) -> list[Piece]:
        """Go on with a call's arguments, as JSON text."""
        tool = self._tools.get(key)
        if tool is None or not text:
            return []
        tool.arguments.append(text)
        return [{"type": "tool-input-delta", "toolCallId": tool.call_id, "inputTextDelta": text}]

    def end_tool(self, key: object, arguments: Any = None) -> list[Piece]:
        """End a call's arguments; they count as they came, unless they are given whole."""
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
                error = "The arguments are no JSON."
                return [{"type": "tool-input-error", **part, "input": text, "errorText": error}]
        return [{"type": "tool-input-available", **part, "input": plain(arguments)}]

    def output(self, call_id: str, output: Any, *, failed: bool = False) -> list[Piece]:
        """Add what a tool returned; a failure's text is the application's, and is shown."""
        if failed:
            text = output if isinstance(output, str) else json.dumps(plain(output))
            return [{"type": "tool-output-error", "toolCallId": call_id, "errorText": text}]
        return [{"type": "tool-output-available", "toolCallId": call_id, "output": plain(output)}]

    def source(self, url: str | None, title: str | None) -> list[Piece]:
        """Add a source that the answer names."""
        if not url:
            return []
        self._sources += 1
        part: dict[str, Any] = {"type": "source-url", "sourceId": f"source-{self._sources}"}
        return [part | {"url": url} | ({"title": title} if title else {})]

    def count(self, **usage: Any) -> None:
        """Note how many tokens were used so far; ``None`` is not known."""
        self.usage |= {name: n for name, n in usage.items() if isinstance(n, int)}

    def finish(self, reason: object) -> None:
        """Note why the model stopped, in its provider's word."""
        word = str(getattr(reason, "name", reason)).lower()
        self.finish_reason = _FINISH_REASONS.get(word, "other")

    def close(self) -> list[Piece]:
        """End all that is open."""
        made = self.end_reasoning()
        for key in list(self._tools):
            made += self.end_tool(key)
        return made

    def result(self) -> Result:
        """Return what is kept with the end, as far as it is known now."""
        known: dict[str, JSON] = {"finish_reason": self.finish_reason, "model": self.model}
        return Result(known | {"usage": dict(self.usage)})

    def end(self) -> list[Piece]:
        """End the message.

        Raises:
            StreamError: No reason came why the model stopped: the answer was cut off.
        """
        if self.finish_reason is None:
            raise fault("provider_cut")
        return [*self.close(), self.result()]


def plain(thing: Any) -> Any:
    """Return a tool's value as JSON: what is none becomes its text."""
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
