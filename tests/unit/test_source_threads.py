"""A source that blocks its thread delays no other work (G1, G6, G7).

If a source blocks the event loop, other work goes on between two messages of the source.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from inkstream import Append, PersistentTextStreaming, Result, StreamError, Timing

request_id = contextvars.ContextVar("request_id", default="none")


@pytest.fixture
async def streams() -> AsyncIterator[PersistentTextStreaming]:
    """Provide an instance that runs in real time, because threads do not use virtual time."""
    async with PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0)) as running:
        yield running


def plain_function() -> Iterator[Any]:
    request = request_id.get()
    assert threading.current_thread() is not threading.main_thread()
    yield request
    yield {"n": 1}
    yield Result({"tokens": 3})


@pytest.mark.parametrize("as_function", [True, False])
async def test_a_plain_iterator_runs_in_a_thread(
    streams: PersistentTextStreaming, as_function: bool
) -> None:
    await streams.create("s")
    request_id.set("r1")
    streams.start("s", plain_function if as_function else plain_function())
    body = await streams.wait("s")
    assert body.parts == ("r1", {"n": 1})
    assert (body.status, body.end and body.end.result) == ("done", {"tokens": 3})


async def test_a_plain_iterator_that_raises(streams: PersistentTextStreaming) -> None:
    def source() -> Iterator[str]:
        yield "so far"
        raise StreamError("Overloaded.", code="overloaded")

    await streams.create("s")
    streams.start("s", source)
    body = await streams.wait("s")
    assert (body.text, body.status) == ("so far", "error")
    assert body.end is not None
    assert (body.end.code, body.end.message) == ("overloaded", "Overloaded.")


async def test_blocked_thread_does_not_delay_the_end(streams: PersistentTextStreaming) -> None:
    """G6: a blocked thread cannot be cancelled, so its stream does not wait for the thread."""
    release, stopped = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        try:
            yield "before"
            release.wait(10)
            yield "after"
            yield "never asked for"
        finally:
            stopped.set()

    await streams.create("s")
    task = streams.start("s", source)
    following = streams.follow("s")
    assert await anext(following) == "before"
    await streams.cancel("s")
    await asyncio.wait_for(task, 1)
    await following.aclose()
    release.set()
    assert await asyncio.to_thread(stopped.wait, 5)
    assert (await streams.read("s")).text == "before"


async def test_a_refused_message_closes_the_generator(streams: PersistentTextStreaming) -> None:
    """After a refused message, ``finally`` runs on the generator's thread, before the end."""
    opened: list[threading.Thread] = []
    closed: list[threading.Thread] = []

    def source() -> Iterator[Any]:
        opened.append(threading.current_thread())
        try:
            yield "before"
            yield 5  # neither text nor an object
            yield "never asked for"
        finally:
            closed.append(threading.current_thread())

    await streams.create("s")
    await streams.start("s", source)
    assert (await streams.read("s")).status == "error"
    assert closed == opened


def block(seconds: float) -> None:
    """Block the event loop, as a synchronous SDK does. With ``time.sleep``, the test would fail."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def blocks_and_yields(heard: list[Any], seen: list[int]) -> AsyncIterator[Any]:
    """Before each message, add to ``seen`` how many items of the stream a reader has ``heard``."""
    for message in ["x", {"n": 1}] * 5:
        block(0.06)
        seen.append(len(heard))
        yield message


async def blocks_and_appends(append: Append, heard: list[Any], seen: list[int]) -> None:
    async for message in blocks_and_yields(heard, seen):
        await append(message)


@pytest.mark.parametrize("form", [blocks_and_yields, blocks_and_appends])
async def test_a_source_that_blocks_the_loop_is_read_all_the_same(
    streams: PersistentTextStreaming, form: Callable[..., Any]
) -> None:
    """G1, G7: between two messages of a source that blocks the loop, text is stored and sent."""
    heard: list[Any] = []
    seen: list[int] = []

    async def follow() -> None:
        async for item in streams.follow("s"):
            heard.append(item)  # noqa: PERF401 - one by one

    await streams.create("s")
    following = asyncio.create_task(follow())
    while not streams.engine.readers:  # noqa: ASYNC110 - the reader opens at a turn of the loop
        await asyncio.sleep(0)
    streams.start("s", functools.partial(form, heard=heard, seen=seen))
    async with asyncio.timeout(20):
        await following
    assert seen[-1] >= 5
    assert len(heard) == 11, "ten messages and the end"


async def test_a_blocked_loop_names_the_way_out(
    streams: PersistentTextStreaming, caplog: pytest.LogCaptureFixture
) -> None:
    async def source() -> AsyncIterator[str]:
        for _ in range(10):
            block(0.2)
            yield "x"

    await streams.create("s")
    await streams.start("s", source)
    (record,) = [r for r in caplog.records if "between its messages" in r.getMessage()]
    assert "plain generator" in record.getMessage()
    assert record.__dict__["event"] == "loop_blocked"
