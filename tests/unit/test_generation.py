"""Sources have four forms, and no stream waits for a source that does not stop (G4, G6)."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pydantic
import pytest

from inkstream import (
    Append,
    Limits,
    PersistentTextStreaming,
    Result,
    Source,
    StreamBody,
    StreamError,
    Timing,
)
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker

request_id = contextvars.ContextVar("request_id", default="none")


async def run(source: Any, **settings: Any) -> StreamBody:
    async with one_worker(**settings) as worker:
        await worker.streams.create("s")
        worker.streams.start("s", source)
        return await worker.streams.wait("s")


# The four forms ----------------------------------------------------------------------------------


async def generator_function() -> AsyncIterator[str | dict[str, int] | Result]:
    yield "a"
    yield {"n": 1}
    yield "b"
    yield Result({"tokens": 3})


class Iterating:
    """An async iterator without ``aclose``."""

    def __init__(self) -> None:
        self._left: list[Any] = [Result({"tokens": 3}), "b", {"n": 1}, "a"]

    def __aiter__(self) -> Iterating:
        return self

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def with_append(append: Append) -> dict[str, int]:
    await append("a")
    await append({"n": 1})
    await append("b")
    return {"tokens": 3}


async def returns_an_iterator() -> Iterating:
    return Iterating()


@pytest.mark.parametrize(
    "source",
    [generator_function, generator_function(), Iterating(), with_append, returns_an_iterator],
    ids=["generator function", "generator", "iterator", "append", "coroutine"],
)
@in_virtual_time
async def test_async_sources(source: Source) -> None:
    body = await run(source)
    assert body.parts == ("a", {"n": 1}, "b")
    assert body.status == "done"
    assert body.end
    assert body.end.result == {"tokens": 3}


def plain_function() -> Iterator[Any]:
    request = request_id.get()
    assert threading.current_thread() is not threading.main_thread()
    yield request
    yield {"n": 1}
    yield Result({"tokens": 3})


@pytest.fixture
async def streams() -> AsyncIterator[PersistentTextStreaming]:
    """Provide an instance that runs in real time, because threads do not use virtual time."""
    async with PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0)) as running:
        yield running


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


@pytest.mark.parametrize("wrong", [lambda: 7, lambda: "text", lambda: {"a": 1}])
@in_virtual_time
async def test_source_function_returns_no_source(wrong: Any) -> None:
    body = await run(wrong)
    assert body.status == "error"
    assert body.end is not None
    assert body.end.code == "internal"


async def generator_that_takes_append(append: Any) -> AsyncIterator[str]:
    yield "neither one nor the other"


def wants_two(append: Any, prompt: Any) -> None:
    """Serve as a function that needs two arguments."""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("text", "this is str"),
        (b"bytes", "this is bytes"),
        ({"type": "part"}, "this is dict"),
        (7, "this is int"),
        (None, "this is NoneType"),
        (generator_that_takes_append, "generator_that_takes_append wants append: call it"),
        (wants_two, "wants_two wants append, prompt: bind"),
    ],
)
@in_virtual_time
async def test_invalid_source_raises_at_start(wrong: Any, told: str) -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")
        with pytest.raises(TypeError, match=told):
            worker.streams.start("s", wrong)
        worker.streams.start("s", functools.partial(generator_that_takes_append, print))
        assert (await worker.streams.wait("s")).status == "done"


@in_virtual_time
async def test_an_error_with_a_result_that_is_too_large() -> None:
    """G5, G9: a failed source with a result that is too large ends with the limit's code."""

    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise StreamError("Try later.", result="x" * 100)

    body = await run(source, limits=Limits(message_bytes=100))
    assert (body.text, body.end and body.end.code) == ("so far", "message_too_large")


# How sources end -------------------------------------------------------------------------------


@in_virtual_time
async def test_an_error_meant_for_readers() -> None:
    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise StreamError("Try later.", code="overloaded", result={"tokens": 1})

    body = await run(source)
    assert (body.text, body.status) == ("so far", "error")
    assert body.end is not None
    assert body.end.result == {"tokens": 1}
    assert (body.end.code, body.end.message) == ("overloaded", "Try later.")


@in_virtual_time
async def test_any_other_error_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise RuntimeError("the key is sk-secret")

    body = await run(source)
    assert (body.text, body.status) == ("so far", "error")
    assert body.end is not None
    assert body.end.code == "internal"
    assert "secret" not in repr(body)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "sk-secret" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("x" * 101, "message_too_large"),
        (Result({"a": float("nan")}), "invalid_message"),
        (Result({"a": "x" * 100}), "message_too_large"),
        (7, "invalid_message"),
    ],
)
@in_virtual_time
async def test_source_yields_an_invalid_value(item: Any, code: str) -> None:
    async def source() -> AsyncIterator[Any]:
        yield "so far"
        yield item

    body = await run(source, limits=Limits(message_bytes=100))
    assert (body.text, body.status) == ("so far", "error")
    assert body.end is not None
    assert body.end.code == code


@in_virtual_time
async def test_a_source_that_writes_too_much() -> None:
    async def source() -> AsyncIterator[str]:
        while True:
            yield "x" * 10

    body = await run(source, limits=Limits(stream_bytes=100))
    assert (len(body.text), body.end and body.end.code) == (100, "stream_too_large")


@in_virtual_time
async def test_a_source_that_cancels_itself_ends_its_stream() -> None:
    """G5: a source that raises ``CancelledError`` itself ends its stream with status ``error``."""

    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise asyncio.CancelledError

    body = await run(source)
    assert (body.text, body.status) == ("so far", "error")


@in_virtual_time
async def test_cancel_closes_the_call_to_the_provider() -> None:
    """G6: a cancel in another worker closes the source within a second, and the text stays."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        await here.streams.create("s")
        task = here.streams.start("s", source)
        await source.send("shown")
        await asyncio.sleep(0.1)
        assert await there.streams.cancel("s") is True
        assert await there.streams.cancel("s") is False, "a stream ends once (G5)"
        await asyncio.wait_for(source.closed.wait(), 1)
        await task
        body = await here.streams.read("s")
        assert (body.text, body.status) == ("shown", "cancelled")


@in_virtual_time
async def test_cancel_works_without_hints() -> None:
    """G6: without hints, the writer's worker finds the cancel at its next poll."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        there.notifier.lose = 1.0
        source = ScriptedSource()
        await here.streams.create("s")
        here.streams.start("s", source)
        await source.started.wait()
        await there.streams.cancel("s")
        await asyncio.wait_for(source.closed.wait(), here.engine.timing.poll_s + 0.5)


@in_virtual_time
async def test_source_that_ignores_cancellation_is_abandoned() -> None:
    """G6: neither ``start``, ``wait`` nor a drain waits for a source that ignores cancellation."""
    let_go = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "so far"
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                pass
        yield "too late"

    async with one_worker() as worker:
        await worker.streams.create("s")
        task = worker.streams.start("s", source)
        await asyncio.sleep(1)
        await worker.streams.cancel("s")
        await asyncio.wait_for(task, 1)
        assert (await worker.streams.wait("s")).status == "cancelled"
        await worker.engine.drain(5)
        let_go.set()
        await asyncio.sleep(1)
        assert (await worker.streams.read("s")).text == "so far"


@in_virtual_time
async def test_cancelling_the_task_ends_the_stream() -> None:
    """G5: the stream ends, no matter when the task that ``start`` returned is cancelled."""
    for delay_s in (0.0, 0.05, 0.2, 0.3, 0.5, 1.0):
        async with one_worker() as worker:
            await worker.streams.create("s", start_within_s=5)
            worker.store.latency_s = 0.2
            task = worker.streams.start("s", ScriptedSource())
            await asyncio.sleep(delay_s)
            task.cancel()
            body = await asyncio.wait_for(worker.streams.wait("s"), 30)
            assert body.status in ("error", "timeout")


# Starts, and the context of a source -------------------------------------------------------------


@in_virtual_time
async def test_one_of_many_starts_calls_its_source() -> None:
    """G4: of nine starts on three workers, exactly one calls its source."""
    for seed in range(10):
        async with cluster(seed) as made:
            workers = [await made.add() for _ in range(3)]
            for worker in workers:
                worker.store.latency_s = 0.1
            await workers[0].streams.create("s")
            sources = [ScriptedSource() for _ in range(9)]
            for number, source in enumerate(sources):
                workers[number % 3].streams.start("s", source)
            await asyncio.sleep(2)
            [called] = [source for source in sources if source.calls]
            assert called.calls == 1
            await called.send("one writer")
            await called.finish()
            assert (await workers[1].streams.wait("s")).text == "one writer"


@in_virtual_time
async def test_source_runs_in_a_copy_of_the_context() -> None:
    seen: list[str] = []

    async def source() -> AsyncIterator[str]:
        seen.append(request_id.get())
        request_id.set("changed")
        yield "x"
        seen.append(request_id.get())

    async with one_worker() as worker:
        request_id.set("r1")
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await worker.streams.wait("s")
        assert seen == ["r1", "changed"]
        assert request_id.get() == "r1", "the source changes only a copy"


@pytest.mark.parametrize("end", ["finish", "cancel"])
@in_virtual_time
async def test_engine_tasks_have_an_empty_context(end: str) -> None:
    """The engine's tasks do not keep a request's context variables (session, user) alive."""
    seen: list[str] = []
    own: set[tuple[str, str]] = set()

    async def on_end(body: StreamBody) -> None:
        seen.append(request_id.get())

    async def request(worker: Worker, act: Callable[[], Any]) -> None:
        request_id.set("a request")
        await act()

    request_id.set("the engine's")
    async with one_worker(on_end=on_end) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.store.inner.database.before = lambda method: own.add((method, request_id.get()))

        async def act() -> None:
            worker.streams.start("s", source)
            await source.started.wait()
            await (source.finish() if end == "finish" else worker.streams.cancel("s"))

        await asyncio.create_task(request(worker, act))
        await asyncio.sleep(2)
    assert {context for method, context in own if method in ("commit", "tidy")} == {"none"}
    assert seen == ["none"]


# Time ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_unstarted_stream_ends() -> None:
    async with one_worker(timing=Timing(start_within_s=10)) as worker:
        await worker.streams.create("s")
        await asyncio.sleep(9)
        assert (await worker.streams.read("s")).status == "pending"
        body = await asyncio.wait_for(worker.streams.wait("s"), 4)
        assert (body.status, body.end and body.end.code) == ("timeout", "never_started")


@in_virtual_time
async def test_idle_source_is_ended() -> None:
    async with one_worker(timing=Timing(idle_s=5)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        for _ in range(4):
            await source.send(".")
            await asyncio.sleep(4)
        assert not source.closed.is_set()
        await asyncio.wait_for(source.closed.wait(), 2)
        body = await worker.streams.wait("s")
        assert (body.text, body.end and body.end.code) == ("....", "idle")


@in_virtual_time
async def test_source_waiting_for_the_store_is_not_idle() -> None:
    """G7, G12: a source that waits for the store is not idle, so ``idle_s`` ends no stream.

    The outage is longer than ``idle_s``, but shorter than ``patience_s``.
    """
    timing, limits = Timing(idle_s=5, patience_s=30), Limits(buffer_bytes=10)

    async def answer() -> AsyncIterator[str]:
        for _ in range(50):
            yield "0123456789"
            await asyncio.sleep(0.5)

    async with one_worker(timing=timing, limits=limits) as worker:
        await worker.streams.create("s")
        worker.streams.start("s", answer)
        await asyncio.sleep(3)
        worker.store.away = True
        await asyncio.sleep(12)
        worker.store.away = False
        body = await worker.streams.wait("s")
        assert (body.status, body.text) == ("done", "0123456789" * 50)


@in_virtual_time
async def test_overlong_source_is_ended() -> None:
    async with one_worker(timing=Timing(total_s=5)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        for _ in range(6):
            await source.send(".")
            await asyncio.sleep(1)
        assert source.closed.is_set()
        body = await worker.streams.wait("s")
        assert (body.status, body.end and body.end.code) == ("timeout", "total")


@in_virtual_time
async def test_generation_outlives_its_readers() -> None:
    """G6: an answer continues after its last reader has left."""
    async with one_worker() as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await source.send("a")
        following = worker.streams.follow("s")
        assert await anext(following) == "a"
        await following.aclose()
        await asyncio.sleep(600)
        await source.send("b")
        await source.finish()
        assert (await worker.streams.wait("s")).text == "ab"


# Items that cannot be stored ----------------------------------------------------------------------


@dataclasses.dataclass
class Piece:
    text: str


class Delta(pydantic.BaseModel):
    text: str


async def later() -> str:
    return "text"


UNFIT: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, 'delta or ""'),
    (lambda: b"text", ".decode()"),
    (lambda: bytearray(b"text"), ".decode()"),
    (lambda: Delta(text="text"), ".model_dump("),
    (lambda: Piece("text"), "dataclasses.asdict"),
    (lambda: 7, "str(value)"),
    (lambda: ["text"], "one by one"),
    (lambda: (piece for piece in ["text"]), "one by one"),
    (lambda: asyncio.get_running_loop().create_future(), "`await`"),
    (lambda: generator_function(), "async for"),
    (lambda: {"delta": Delta(text="text")}, ".model_dump("),
    (lambda: {"deep": [{"raw": b"text"}]}, ".decode()"),
    (lambda: {"value": float("nan")}, "not a JSON value"),
]


@pytest.mark.parametrize("form", ["async", "thread", "append", "partial", "generator"])
@pytest.mark.parametrize(("make", "remedy"), UNFIT)
async def test_error_says_what_to_yield(
    make: Callable[[], Any], remedy: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the source, and says what to yield instead of an item that cannot be stored."""
    unfit = make()

    async def answer() -> AsyncIterator[Any]:
        yield "so far"
        yield unfit

    def answer_in_thread() -> Iterator[Any]:
        yield "so far"
        yield unfit

    async def answer_by_append(append: Append) -> None:
        await append("so far")
        await append(unfit)

    source: Any = {
        "async": answer,
        "thread": answer_in_thread,
        "append": answer_by_append,
        "partial": functools.partial(answer),
        "generator": answer(),
    }[form]
    streams = PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0))
    async with streams:
        await streams.create("s")
        await streams.start("s", source)
        body = await streams.read("s")
    assert body.end is not None
    assert (body.text, body.status, body.end.code) == ("so far", "error", "invalid_message")
    assert remedy in caplog.text
    assert f"answer{'_in_thread' * (form == 'thread')}{'_by_append' * (form == 'append')} (" in (
        caplog.text
    )
    assert f"{__file__}:" in caplog.text


def block(seconds: float) -> None:
    """Block the event loop, as a synchronous SDK does. The tests forbid ``time.sleep`` there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def blocks_and_yields(heard: list[Any], seen: list[int]) -> AsyncIterator[Any]:
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
    assert len(heard) == 11


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


async def async_exit() -> AsyncIterator[str]:
    yield "so far"
    sys.exit(3)


async def append_exit(append: Append) -> None:
    await append("so far")
    sys.exit(3)


def thread_exit() -> Iterator[str]:
    yield "so far"
    sys.exit(3)


def thread_interrupt() -> Iterator[str]:
    yield "so far"
    raise KeyboardInterrupt


@pytest.mark.parametrize("source", [async_exit, append_exit, thread_exit, thread_interrupt])
async def test_a_source_that_exits_ends_only_its_stream(
    streams: PersistentTextStreaming, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """G4: a SystemExit of one source would end the event loop, and so every stream."""
    await streams.create("s")
    streams.start("s", source)
    async with asyncio.timeout(10):
        body = await streams.wait("s")
    assert (body.text, body.status, body.end and body.end.code) == ("so far", "error", "internal")
    assert [r for r in caplog.records if r.__dict__.get("event") == "source_failed"]


async def test_a_function_that_exits_ends_only_its_stream(
    streams: PersistentTextStreaming,
) -> None:
    def plain() -> list[str]:
        sys.exit(1)

    await streams.create("s")
    await streams.start("s", plain)
    assert (await streams.read("s")).status == "error"


async def test_an_on_end_that_exits_is_called_again() -> None:
    calls = []

    async def on_end(body: StreamBody) -> None:
        calls.append(body)
        if len(calls) == 1:
            sys.exit(1)

    async with PersistentTextStreaming("memory://", on_end=on_end) as streams:
        await streams.create("s")
        await streams.start("s", ["x"])
        async with asyncio.timeout(10):
            while len(calls) < 2:  # noqa: ASYNC110 - nothing else shows the call
                await asyncio.sleep(0.01)


async def returns_text() -> str:
    return "hi"


def takes_append(append: Append) -> None:
    """Forget that a function with ``append`` is ``async def``."""


class Answers:
    """A class of sources."""

    async def __call__(self) -> AsyncIterator[str]:
        yield "x"


async def used_up() -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (returns_text, r"returns_text \(.*test_generation\.py:\d+\) returned str.*'yield text'"),
        (takes_append, r"takes_append \(.*test_generation\.py:\d+\).*must be 'async def'"),
        (Answers, r"Answers.* returned Answers"),
    ],
)
@in_virtual_time
async def test_a_wrong_source_is_named_with_its_remedy(
    source: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await run(source)).status == "error"
    (record,) = [r for r in caplog.records if r.__dict__.get("event") == "source_failed"]
    assert record.exc_info
    with pytest.raises(TypeError, match=told):
        raise record.exc_info[1] or AssertionError


@in_virtual_time
async def test_a_class_of_iterators_is_refused_at_the_start() -> None:
    wrong: Any = Iterating
    with pytest.raises(TypeError, match="Iterating is a class"):
        await run(wrong)


@in_virtual_time
async def test_a_used_up_generator_is_an_error_for_its_second_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = used_up()
    async with one_worker() as worker:
        streams = worker.streams
        for name in ("first", "second"):
            await streams.create(name)
        await asyncio.wait([streams.start("first", source), streams.start("second", source)])
        bodies = [await streams.read(name) for name in ("first", "second")]
        assert {body.status: body.text for body in bodies} == {"done": "x", "error": ""}
        await streams.create("third")
        with pytest.raises(TypeError, match=r"used_up .* is used up"):
            streams.start("third", source)
