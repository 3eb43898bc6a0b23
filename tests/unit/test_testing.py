"""``inkstream.testing`` gives applications virtual time, a scripted source, and a fixture."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from inkstream import PersistentTextStreaming
from inkstream.testing import (
    ScriptedSource,
    VirtualClock,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)
from inkstream.testing.fixtures import inkstream_database, streams

__all__ = ["inkstream_database", "streams"]  # pytest finds the fixtures in this module


async def test_the_fixture_and_a_scripted_source(streams: PersistentTextStreaming) -> None:
    source = ScriptedSource()
    stream_id = await streams.create()
    streams.start(stream_id, source)
    await source.send("Hello, ", {"tool": "search"}, "world")
    await source.finish({"tokens": 2})
    body = await streams.wait(stream_id)
    assert body.parts == ("Hello, ", {"tool": "search"}, "world")
    assert body.end
    assert body.end.result == {"tokens": 2}
    assert source.calls == 1


async def test_cancelled_scripted_source_ignores_sends(
    streams: PersistentTextStreaming,
) -> None:
    source = ScriptedSource()
    stream_id = await streams.create()
    streams.start(stream_id, source)
    await source.send("shown")
    await streams.cancel(stream_id)
    await source.closed.wait()
    await asyncio.wait_for(source.send("nobody listens"), 1)


@pytest.mark.parametrize("step", ["send", "finish", "fail"])
@in_virtual_time
async def test_scripted_source_that_no_stream_calls(step: str) -> None:
    """A test that never starts the source gets an error that says so, and does not hang."""
    source = ScriptedSource()
    with pytest.raises(TimeoutError, match="was not called within 10 s: start a stream"):
        await getattr(source, step)(*([RuntimeError()] if step == "fail" else []))


def test_hours_pass_in_milliseconds() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []

        async def nap(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(loop.time())

        await asyncio.gather(*[nap(seconds) for seconds in (3600.0, 0.5, 60.0)])
        return seen

    began = time.monotonic()
    assert run_virtual(main(), limit_s=4000) == [0.5, 60.0, 3600.0]
    assert time.monotonic() - began < 5


def test_endless_polling_is_stopped() -> None:
    async def poll() -> None:
        for _ in range(10**6):
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError, match="not done after 100 virtual seconds"):
        run_virtual(poll(), limit_s=100)


def test_the_end_waits_for_threads_in_real_time() -> None:
    """The limit for threads that asyncio has since Python 3.12 has no effect in virtual time."""
    done = threading.Event()

    def work() -> None:
        time.sleep(0.2)
        done.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.run_in_executor(None, work)
        await loop.shutdown_default_executor(timeout=300)
        assert done.is_set()

    run_virtual(main())


@in_virtual_time
async def test_the_wall_clock_may_jump_and_the_other_not() -> None:
    clock = VirtualClock(wall=1000.0)
    await asyncio.sleep(5)
    assert (clock.monotonic(), clock.wall()) == (5.0, 1005.0)
    clock.jump_wall(-500)
    assert (clock.monotonic(), clock.wall()) == (5.0, 505.0)
