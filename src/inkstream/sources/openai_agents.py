"""Reads the answers of agents of OpenAI's Agents SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from inkstream.sources._reading import AsyncPieces, Piece, pieces, value
from inkstream.sources._turn import PartWriter
from inkstream.sources.openai_responses import ResponsesParser


def openai_agents(run: Any) -> AsyncPieces:
    """Yield the answer of an agent's run, with its tool calls and their outputs.

    If the stream is stopped, the run is cancelled. The usage is the sum of all responses of the
    run.

    Args:
        run: What ``Runner.run_streamed(…)`` returns.

    Raises (while iterating):
        StreamError: The provider failed, or broke the answer off (``provider_cut``).
    """
    return pieces(_events(run), _RunParser())


@asynccontextmanager
async def _events(run: Any) -> AsyncIterator[Any]:
    try:
        yield run.stream_events()
    finally:
        run.cancel()  # otherwise the run's task could continue and call the model again


class _RunParser:
    def __init__(self) -> None:
        self._responses = ResponsesParser()
        self._tools = PartWriter()

    def feed(self, event: Any) -> list[Piece]:
        if value(event, "type") == "raw_response_event":
            return list(self._responses.feed(value(event, "data")))
        if value(event, "name") != "tool_output":
            return []
        item = value(event, "item")
        call_id = value(value(item, "raw_item"), "call_id", "")
        return self._tools.output(str(call_id), value(item, "output"))

    def end(self) -> list[Piece]:
        return self._responses.end()
