"""A source that a test controls step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from inkstream._types import JSON
from inkstream.engine.generation import Message, Result

_CALLED_WITHIN_S: Final = 10.0
"""How many seconds the methods of a ``ScriptedSource`` wait until a stream calls the source."""


class ScriptedSource:
    """Replace a model: yield what the test sends, when the test sends it.

    If no stream calls the source within ten seconds, the source's methods raise ``TimeoutError``.

    Pass an instance as a source::

        source = ScriptedSource()
        streams.start(stream_id, source)
        await source.send("Hello")
        await source.finish({"tokens": 1})

    Attributes:
        calls: How often the source was called.
        started: Set when the source is called.
        closed: Set when the source has ended: finished, failed, or cancelled.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.closed = asyncio.Event()
        self._steps: asyncio.Queue[Message | Result | BaseException | None] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[Message | Result]:
        """Yield what the test sends."""
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
        """Yield messages, and wait until the stream accepts them.

        The stream may store the messages later.
        """
        for message in messages:
            self._steps.put_nowait(message)
        await self._called()
        await self._taken()

    async def reason(self, text: str, *, reasoning_id: str = "reasoning") -> None:
        """Yield reasoning, as the sources for real models do."""
        await self.send(
            {"type": "reasoning-start", "id": reasoning_id},
            {"type": "reasoning-delta", "id": reasoning_id, "delta": text},
            {"type": "reasoning-end", "id": reasoning_id},
        )

    async def call_tool(
        self, name: str, tool_input: JSON, output: JSON, *, call_id: str = "call"
    ) -> None:
        """Yield a tool call and its output, as the sources for real models do."""
        called: dict[str, JSON] = {"toolCallId": call_id, "toolName": name, "input": tool_input}
        await self.send(
            {"type": "tool-input-available", **called},
            {"type": "tool-output-available", "toolCallId": call_id, "output": output},
        )

    async def finish(self, result: JSON = None) -> None:
        """End the source. If ``result`` is not ``None``, first yield ``Result(result)``."""
        if result is not None:
            self._steps.put_nowait(Result(result))
        self._steps.put_nowait(None)
        await self._called()
        await self.closed.wait()

    async def fail(self, error: BaseException) -> None:
        """Raise ``error`` in the source, and wait until the source has ended."""
        self._steps.put_nowait(error)
        await self._called()
        await self.closed.wait()

    async def _called(self) -> None:
        try:
            async with asyncio.timeout(_CALLED_WITHIN_S):
                await self.started.wait()
        except TimeoutError:
            raise TimeoutError(
                f"this source was not called within {_CALLED_WITHIN_S:g} s: start a stream with it "
                "(streams.start, streams.stream), and check that the stream was not claimed before"
            ) from None

    async def _taken(self) -> None:
        """Wait until the queue is empty or the source has ended."""
        taken = asyncio.ensure_future(self._steps.join())
        closed = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait((taken, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
            closed.cancel()
