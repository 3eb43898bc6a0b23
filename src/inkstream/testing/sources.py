"""A source whose every step a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from inkstream._types import JSON
from inkstream.engine.generation import Message, Result


class ScriptedSource:
    """Stand in for a model: give what the test says, when it says so.

    Pass it where a source is asked for::

        source = ScriptedSource()
        streams.start(stream_id, source)
        await source.send("Hello")
        await source.finish({"tokens": 1})

    Attributes:
        calls: How often it was called: once, if the stream was started once.
        started: Set when it was called.
        closed: Set when it came to its end in any way: finished, failed, or cancelled.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.closed = asyncio.Event()
        self._steps: asyncio.Queue[Message | Result | BaseException | None] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[Message | Result]:
        """Give what the test sends."""
        self.calls += 1
        self.started.set()
        try:
            while True:
                step = await self._steps.get()
                if step is None:
                    self._steps.task_done()
                    return
                if isinstance(step, BaseException):
                    self._steps.task_done()
                    raise step
                yield step
                self._steps.task_done()
        finally:
            self.closed.set()

    async def send(self, *messages: Message) -> None:
        """Give messages, and wait until the stream has accepted them (not: stored)."""
        for message in messages:
            self._steps.put_nowait(message)
        await self._taken()

    async def reason(self, text: str, *, reasoning_id: str = "reasoning") -> None:
        """Give a piece of reasoning, as the sources for real models do."""
        await self.send(
            {"type": "reasoning-start", "id": reasoning_id},
            {"type": "reasoning-delta", "id": reasoning_id, "delta": text},
            {"type": "reasoning-end", "id": reasoning_id},
        )

    async def call_tool(
        self, name: str, tool_input: JSON, output: JSON, *, call_id: str = "call"
    ) -> None:
        """Give a tool call with its output, as the sources for real models do."""
        called: dict[str, JSON] = {"toolCallId": call_id, "toolName": name, "input": tool_input}
        await self.send(
            {"type": "tool-input-available", **called},
            {"type": "tool-output-available", "toolCallId": call_id, "output": output},
        )

    async def finish(self, result: JSON = None) -> None:
        """Come to the end, with a result if one is given."""
        if result is not None:
            self._steps.put_nowait(Result(result))
        self._steps.put_nowait(None)
        await self.closed.wait()

    async def fail(self, error: BaseException) -> None:
        """Raise an error in the source."""
        self._steps.put_nowait(error)
        await self.closed.wait()

    async def _taken(self) -> None:
        """Wait for the queue to be empty, or for a source that will take no more."""
        taken = asyncio.ensure_future(self._steps.join())
        closed = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait((taken, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
            closed.cancel()
