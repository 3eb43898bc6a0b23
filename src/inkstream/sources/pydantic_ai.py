"""Reads the answers of pydantic-ai's agents."""

from __future__ import annotations

from typing import Any, Final

from inkstream.sources._reading import Asynchronous, AsyncPieces, Piece, pieces, value
from inkstream.sources._turn import PartWriter, plain

_SAY_WHY: Final = frozenset(
    [
        "anthropic",
        "azure",
        "deepseek",
        "google",
        "google-cloud",
        "google-gla",
        "google-vertex",
        "groq",
        "mistral",
        "openai",
        "openrouter",
    ]
)
"""Providers that always say why an answer stopped.

If such a provider gives no reason, its answer broke off.
"""


def pydantic_ai(events: Asynchronous) -> AsyncPieces:
    """Yield the answer of an agent's run, with its tool calls and their outputs.

    Args:
        events: What ``agent.run_stream_events(…)`` returns.

    Raises (while iterating):
        StreamError: The provider failed. If the provider broke the answer off, or the run never
            reached its result, the code is ``provider_cut``.
    """
    return pieces(events, _RunParser())


class _RunParser:
    def __init__(self) -> None:
        self._turn = PartWriter()
        self._called: set[str] = set()

    def feed(self, event: Any) -> list[Piece]:
        part = value(event, "part")
        match value(event, "event_kind"):
            case "part_start":
                return self._start(value(event, "index"), part)
            case "part_delta":
                return self._delta(value(event, "index"), value(event, "delta"))
            case "part_end":
                return self._part_end(value(event, "index"), part)
            case "function_tool_call":
                return self._call(part)
            case "function_tool_result" | "output_tool_result":
                return self._returned(value(event, "result", part))
            case "agent_run_result":
                return self._result(value(event, "result"))
        return []

    def _start(self, index: int, part: Any) -> list[Piece]:
        turn, content = self._turn, value(part, "content", "")
        match value(part, "part_kind"):
            case "text":
                return turn.text(content)
            case "thinking":
                return turn.end_reasoning() + turn.reasoning(content)
            case "tool-call" | "builtin-tool-call" as kind:
                name, call_id = value(part, "tool_name", ""), value(part, "tool_call_id")
                begun = turn.tool(index, call_id, name, by_provider=kind != "tool-call")
                arguments = value(part, "args")
                return begun + (
                    turn.arguments(index, arguments) if isinstance(arguments, str) else []
                )
        return []

    def _delta(self, index: int, delta: Any) -> list[Piece]:
        match value(delta, "part_delta_kind"):
            case "text":
                return self._turn.text(value(delta, "content_delta", ""))
            case "thinking":
                return self._turn.reasoning(value(delta, "content_delta", ""))
            case "tool_call":
                arguments = value(delta, "args_delta", "")
                if isinstance(arguments, str):
                    return self._turn.arguments(index, arguments)
        return []

    def _part_end(self, index: int, part: Any) -> list[Piece]:
        kind = str(value(part, "part_kind", ""))
        if kind == "thinking":
            return self._turn.end_reasoning()
        if not kind.endswith("tool-call"):
            return []
        self._called.add(value(part, "tool_call_id", ""))
        return self._turn.end_tool(index, value(part, "args"))

    def _call(self, part: Any) -> list[Piece]:
        """Return the pieces of a call that arrived whole, from a model that does not stream."""
        call_id = value(part, "tool_call_id", "")
        if call_id in self._called:
            return []
        self._called.add(call_id)
        begun = self._turn.tool(call_id, call_id, value(part, "tool_name", ""))
        return begun + self._turn.end_tool(call_id, value(part, "args"))

    def _returned(self, part: Any) -> list[Piece]:
        call_id = value(part, "tool_call_id", "")
        failed = value(part, "part_kind") == "retry-prompt"
        return self._turn.output(call_id, plain(value(part, "content")), failed=failed)

    def _result(self, result: Any) -> list[Piece]:
        turn = self._turn
        response = value(result, "response")
        turn.model = value(response, "model_name")
        said = value(value(response, "provider_details"), "finish_reason")
        if said is None and value(response, "provider_name") in _SAY_WHY:
            # The answer was cut off, but pydantic-ai treats it as complete. Do not call
            # ``turn.finish``, so that ``end`` raises an error.
            return []
        turn.finish(value(response, "finish_reason", "stop"))
        usage = value(result, "usage")
        usage = usage() if callable(usage) else usage  # before pydantic-ai 2, usage is a method
        turn.count(
            input_tokens=value(usage, "input_tokens"),
            output_tokens=value(usage, "output_tokens"),
            total_tokens=value(usage, "total_tokens"),
            cached_input_tokens=value(usage, "cache_read_tokens"),
            requests=value(usage, "requests"),
        )
        return []

    def end(self) -> list[Piece]:
        return self._turn.end()
