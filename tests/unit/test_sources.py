"""A source has one of several forms. Only one start of a stream calls its source (G4)."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from inkstream import Append, Result, Source, StreamBody
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker
from tests.unit.sources import run

request_id = contextvars.ContextVar("request_id", default="none")


# The forms of a source ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("wrong", [lambda: 7, lambda: "text", lambda: {"a": 1}])
@in_virtual_time
async def test_source_function_returns_no_source(wrong: Any) -> None:
    body = await run(wrong)
    assert body.status == "error"
    assert body.end is not None
    assert body.end.code == "internal"


class Closing:
    """An async iterator with ``close`` and without ``aclose``."""

    def __init__(self) -> None:
        self.open = True
        # 5 is neither text nor an object.
        self._items: Iterator[Any] = iter(("a", 5, "never asked for"))

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return next(self._items)

    def close(self) -> Any:
        self.open = False


class AwaitedClosing(Closing):
    async def close(self) -> None:
        super().close()


class Connection:
    """An object that the application may use further: only ``__aiter__`` belongs to the source."""

    def __init__(self) -> None:
        self.open = True

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield 5

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize(
    ("kind", "stays_open"), [(Closing, False), (AwaitedClosing, False), (Connection, True)]
)
@in_virtual_time
async def test_a_refused_message_closes_the_iterator(kind: type[Any], stays_open: bool) -> None:
    """An async iterator is closed before ``start`` returns, and not by the garbage collector."""
    source = kind()
    async with one_worker() as worker:
        await worker.streams.create("s")
        await worker.streams.start("s", source)
        assert source.open == stays_open
        assert (await worker.streams.read("s")).status == "error"


class Unclosable(Closing):
    def __init__(self) -> None:
        super().__init__()
        self._items = iter(("all", Result(1)))

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        raise StopAsyncIteration

    def close(self) -> Any:
        raise OSError("already closed")


class NeedsACode(Unclosable):
    def close(self, code: int) -> None:  # type: ignore[override]
        raise AssertionError


class HasAFlag(Unclosable):
    close = False  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Unclosable, NeedsACode, HasAFlag])
@in_virtual_time
async def test_a_close_that_fails_spoils_no_answer(kind: type[Closing]) -> None:
    """G5: the whole answer has arrived, so the stream ends ``done``."""
    async with one_worker() as worker:
        await worker.streams.create("s")
        await worker.streams.start("s", kind())
        body = await worker.streams.read("s")
        assert (body.text, body.status) == ("all", "done")


# Objects that are not sources --------------------------------------------------------------------


async def generator_that_takes_append(append: Any) -> AsyncIterator[str]:
    yield "neither one nor the other"


def wants_two(append: Any, prompt: Any) -> None:
    """Need two arguments, so that this function is not a source."""


@pytest.mark.parametrize(
    ("wrong", "message"),
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
async def test_invalid_source_raises_at_start(wrong: Any, message: str) -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")
        with pytest.raises(TypeError, match=message):
            worker.streams.start("s", wrong)
        worker.streams.start("s", functools.partial(generator_that_takes_append, print))
        assert (await worker.streams.wait("s")).status == "done"


@in_virtual_time
async def test_a_class_of_iterators_is_refused_at_the_start() -> None:
    wrong: Any = Iterating
    with pytest.raises(TypeError, match="Iterating is a class"):
        await run(wrong)


async def returns_text() -> str:
    return "hi"


def takes_append(append: Append) -> None:
    """Take ``append`` without ``async def``."""


class Answers:
    """A class of sources."""

    async def __call__(self) -> AsyncIterator[str]:
        yield "x"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (returns_text, r"returns_text \(.*test_sources\.py:\d+\) returned str.*'yield text'"),
        (takes_append, r"takes_append \(.*test_sources\.py:\d+\).*must be 'async def'"),
        (Answers, r"Answers.* returned Answers"),
    ],
)
@in_virtual_time
async def test_a_wrong_source_is_named_with_its_remedy(
    source: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await run(source)).status == "error"
    (record,) = [r for r in caplog.records if r.__dict__.get("event") == "source_failed"]
    assert record.exc_info
    with pytest.raises(TypeError, match=message):
        raise record.exc_info[1] or AssertionError


async def used_up() -> AsyncIterator[str]:
    yield "x"


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
    calls: set[tuple[str, str]] = set()

    async def on_end(body: StreamBody) -> None:
        seen.append(request_id.get())

    async def request(worker: Worker, act: Callable[[], Any]) -> None:
        request_id.set("a request")
        await act()

    request_id.set("the engine's")
    async with one_worker(on_end=on_end) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.store.inner.database.before = lambda method: calls.add((method, request_id.get()))

        async def act() -> None:
            worker.streams.start("s", source)
            await source.started.wait()
            await (source.finish() if end == "finish" else worker.streams.cancel("s"))

        await asyncio.create_task(request(worker, act))
        await asyncio.sleep(2)
    assert {context for method, context in calls if method in ("commit", "tidy")} == {"none"}
    assert seen == ["none"]
