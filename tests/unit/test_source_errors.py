"""A source that fails or exits ends its own stream, and no other stream (G4, G5)."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pydantic
import pytest

from inkstream import (
    Append,
    Limits,
    OutcomeUnknown,
    PersistentTextStreaming,
    Result,
    Source,
    StoreUnavailable,
    StreamBody,
    StreamError,
    Timing,
    WriterFenced,
)
from inkstream.testing import in_virtual_time
from tests.unit.sources import run


@pytest.fixture
async def streams() -> AsyncIterator[PersistentTextStreaming]:
    """Provide an instance that runs in real time, because threads do not use virtual time."""
    async with PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0)) as running:
        yield running


# Errors ------------------------------------------------------------------------------------------


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
async def test_an_error_with_a_result_that_is_too_large() -> None:
    """G5, G9: a failed source with a result that is too large ends with the limit's code."""

    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise StreamError("Try later.", result="x" * 100)

    body = await run(source, limits=Limits(message_bytes=100))
    assert (body.text, body.end and body.end.code) == ("so far", "message_too_large")


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


@in_virtual_time
async def test_a_source_that_cancels_itself_ends_its_stream() -> None:
    """G5: a source that raises ``CancelledError`` itself ends its stream with status ``error``."""

    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise asyncio.CancelledError

    body = await run(source)
    assert (body.text, body.status) == ("so far", "error")


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("the other database is away"),
        OutcomeUnknown("the connection to the other database was lost"),
        WriterFenced("other", "cancelled", "this writer lost stream 'other'"),
    ],
)
@in_virtual_time
async def test_an_error_of_another_stream_ends_the_source_s_stream(error: Exception) -> None:
    """G5: a source may write another stream, and that stream's errors end its own stream too."""

    async def source() -> AsyncIterator[str]:
        yield "so far"
        raise error

    async with asyncio.timeout(10):
        body = await run(source)
    assert (body.text, body.status, body.end and body.end.code) == ("so far", "error", "internal")


async def test_an_iterable_that_raises_stop_iteration(streams: PersistentTextStreaming) -> None:
    class Broken:
        def __iter__(self) -> Iterator[str]:
            return iter([next(iter(()))])

    await streams.create("s")
    async with asyncio.timeout(10):
        await streams.start("s", Broken())
    assert (await streams.read("s")).status == "error"


# Messages that cannot be stored ------------------------------------------------------------------


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


@dataclasses.dataclass
class Piece:
    text: str


class Delta(pydantic.BaseModel):
    text: str


async def pieces() -> AsyncIterator[str]:
    yield "text"


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
    (lambda: pieces(), "async for"),
    (lambda: {"delta": Delta(text="text")}, ".model_dump("),
    (lambda: {"deep": [{"raw": b"text"}]}, ".decode()"),
    (lambda: {"value": float("nan")}, "not a JSON value"),
]


@pytest.mark.parametrize("form", ["async", "thread", "append", "partial", "generator"])
@pytest.mark.parametrize(("make", "remedy"), UNFIT)
async def test_error_says_what_to_yield(
    streams: PersistentTextStreaming,
    make: Callable[[], Any],
    remedy: str,
    form: str,
    caplog: pytest.LogCaptureFixture,
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
    await streams.create("s")
    await streams.start("s", source)
    body = await streams.read("s")
    assert body.end is not None
    assert (body.text, body.status, body.end.code) == ("so far", "error", "invalid_message")
    assert remedy in caplog.text
    name = {"thread": "answer_in_thread", "append": "answer_by_append"}.get(form, "answer")
    assert f"{name} (" in caplog.text
    assert f"{__file__}:" in caplog.text


# Exits -------------------------------------------------------------------------------------------


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
    """G4: an exit of one source does not end the event loop, which all streams share."""
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
