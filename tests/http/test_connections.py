from __future__ import annotations

import asyncio
import gc

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Message

from inkstream import HTTPSettings, PersistentTextStreaming, StreamResponse
from inkstream.http.routes import StreamRoutes
from tests.http.asgi import Gate, ShiftedClock, ask, calling, scope_of
from tests.http.test_formats import ended


async def test_a_ping_comes_every_15_seconds_of_silence(
    streams: PersistentTextStreaming, routes: StreamRoutes, clock: ShiftedClock
) -> None:
    name = await streams.create()
    async with calling(routes, f"/{name}") as call:
        await call.until(lambda: len(call.parser.comments) == 1)
        for number in (2, 3):
            clock.ahead_s += 14.0
            await asyncio.sleep(0.6)  # the server must send no ping in this time
            assert len(call.parser.comments) == number - 1
            clock.ahead_s += 1.1
            await call.until(lambda number=number: len(call.parser.comments) == number)
        assert set(call.parser.comments) == {"ping"}
        assert call.parser.retry == 1000


async def test_pings_and_retry_are_settings(clock: ShiftedClock) -> None:
    settings = HTTPSettings(ping_s=3.0, retry_s=0.25)
    async with PersistentTextStreaming("memory://", clock=clock, http=settings) as streams:
        name = await streams.create()
        async with calling(streams.asgi(allow_anonymous=True), f"/{name}") as call:
            await call.until(lambda: call.body)
            assert call.parser.retry == 250
            clock.ahead_s += 3.1
            await call.until(lambda: len(call.parser.comments) == 2)


@pytest.mark.parametrize("format_", ["events", "text", "json"])
async def test_a_large_text_goes_in_pieces(
    streams: PersistentTextStreaming, routes: StreamRoutes, format_: str
) -> None:
    """G9: a server may keep an ASGI message in memory until its client reads it.

    So inkstream sends at most 64 KiB in one message.
    """
    text = "0123456789" * 20_000
    name = await ended(streams, text)
    async with calling(routes, f"/{name}?format={format_}") as call:
        await call.until(lambda: call.finished)
        sizes = [len(message.get("body", b"")) for message in call.messages]
        assert max(sizes) <= 64 * 1024
        if format_ == "json":
            assert call.json["parts"] == [text]
        else:
            assert (call.heard.text if format_ == "events" else call.body.decode()) == text


@pytest.mark.parametrize("format_", ["events", "text"])
@pytest.mark.parametrize("when", ["live", "ended"])
async def test_a_blocked_send_is_given_up(
    streams: PersistentTextStreaming,
    routes: StreamRoutes,
    clock: ShiftedClock,
    format_: str,
    when: str,
) -> None:
    """G9, G6: the server stops sending to a client that reads nothing for ``send_timeout_s``.

    The stream and its other readers continue.
    """
    name = await streams.create()
    gate = Gate()
    task = streams.start(name, gate)
    gate.say("one")
    async with calling(routes, f"/{name}") as other:
        await other.text("one")
        if when == "ended":
            gate.say(None)
            await task
        async with calling(routes, f"/{name}?format={format_}") as stuck:
            stuck.takes.clear()
            stuck.messages.clear()
            gate.say("two")
            await asyncio.sleep(0.6)  # ``send_timeout_s`` has not passed yet
            assert not stuck.task.done()
            clock.ahead_s += 30.1
            await stuck.answered()
            assert not stuck.finished
        if when == "live":
            gate.say("three", None)
            await other.until(lambda: other.heard.end)
            assert other.heard.text == "onetwothree"


@pytest.mark.parametrize("format_", ["events", "text"])
async def test_a_blocked_send_to_a_gone_client_is_given_up(
    streams: PersistentTextStreaming, routes: StreamRoutes, clock: ShiftedClock, format_: str
) -> None:
    """G9: ``send_timeout_s`` also ends a send to a client that has left.

    Some servers and middlewares never end such a send.
    """
    name = await streams.create()
    gate = Gate()
    streams.start(name, gate)
    async with calling(routes, f"/{name}?format={format_}") as stuck:
        await stuck.started()
        stuck.takes.clear()
        gate.say("one")
        await asyncio.sleep(0.1)
        stuck.disconnect()
        await asyncio.sleep(0.1)
        clock.ahead_s += 30.1
        await stuck.answered()
    gate.say(None)


async def test_a_slow_reader_delays_nobody_and_misses_nothing(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G9: the server queues no messages for a reader that accepts no data."""
    name = await streams.create()
    gate = Gate()
    streams.start(name, gate)
    async with (
        calling(routes, f"/{name}") as slow,
        calling(routes, f"/{name}") as quick,
    ):
        gate.say("0 ")
        await slow.text("0 ")
        slow.takes.clear()
        text = "0 "
        for number in range(1, 200):
            gate.say(f"{number} ")
            text += f"{number} "
            await quick.text(text)
        assert slow.heard.text == "0 "
        sends = len(slow.messages)
        slow.takes.set()
        await slow.text(text)
        assert len(slow.messages) - sends <= 3
        gate.say(None)
        await slow.until(lambda: slow.heard.end)


async def stored(streams: PersistentTextStreaming, name: str, text: str) -> None:
    """Wait until a stream has this text, without following the stream."""
    async with asyncio.timeout(5):
        while True:
            if (await streams.read(name)).text == text:
                return
            await asyncio.sleep(0.005)


async def test_a_disconnect_stops_nothing_else(
    streams: PersistentTextStreaming,
) -> None:
    """G6: a disconnect ends no answer, even if the client's own request started the answer.

    ``on_disconnect="cancel"`` is the exception.
    """
    name = await streams.create()
    gate = Gate()
    request = Request(scope_of("POST", "/"))
    async with calling(streams.stream(request, name, gate), "/", method="POST") as first:
        gate.say("one ")
        await first.text("one ")
        first.disconnect()
        await first.answered()
        assert not first.finished
    gate.say("two ")
    await stored(streams, name, "one two ")
    gate.say("three", None)
    assert (await streams.wait(name)).text == "one two three"
    assert not streams.engine.readers._readers


async def test_a_cancelled_request_does_not_stop_the_answer(
    streams: PersistentTextStreaming,
) -> None:
    """G6: when a client leaves, some servers cancel the task of its request. The answer goes on."""
    name = await streams.create()
    gate = Gate()
    request = Request(scope_of("POST", "/"))
    async with calling(streams.stream(request, name, gate), "/", method="POST") as call:
        gate.say("one ")
        await call.text("one ")
        call.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.task
    gate.say("two ")
    await stored(streams, name, "one two ")
    gate.say("three", None)
    assert (await streams.wait(name)).text == "one two three"
    assert not streams.engine.readers._readers


async def test_no_page_is_read_for_a_client_that_has_left(
    streams: PersistentTextStreaming, routes: StreamRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: the server stops reading the pages of a long text when the client has left."""
    page_bytes = streams.engine.limits.page_bytes
    name = await ended(streams, *["x" * page_bytes for _ in range(12)])
    store = streams.engine.store
    read = store.read
    pages = 0

    async def counted(*args: object, **kwargs: object) -> object:
        nonlocal pages
        pages += 1
        return await read(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read", counted)
    async with calling(routes, f"/{name}") as call:
        call.takes.clear()
        call.disconnect()
        await asyncio.sleep(0)
        call.takes.set()
        await call.answered()
    assert pages <= 4


async def test_a_failed_send_is_a_disconnect(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """Since ASGI 2.4, ``send`` may raise OSError if the client has left."""
    name = await ended(streams, "x")

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    async def send(message: object) -> None:
        raise OSError("gone")

    await routes(scope_of("GET", f"/{name}"), receive, send)
    assert not streams.engine.readers._readers


async def test_the_first_post_starts_and_others_follow(
    streams: PersistentTextStreaming,
) -> None:
    """G4: only the first request starts the answer."""
    name = await streams.create()
    gate = Gate()

    def drive(headers: dict[str, str] | None = None) -> StreamResponse:
        return streams.stream(Request(scope_of("POST", "/", headers)), name, gate)

    async with calling(drive(), "/") as first, calling(drive(), "/") as second:
        gate.say("one ")
        await first.text("one ")
        await second.text("one ")
        last = {"last-event-id": first.heard.last_id}
        async with calling(drive(last), "/") as third:
            gate.say("two", None)
            await third.until(lambda: third.heard.end)
            assert third.heard.text == "two"
    assert gate.calls == 1
    assert (await ask(drive({"last-event-id": third.heard.last_id}), "/")).status == 204


class Passing(BaseHTTPMiddleware):
    """A middleware that hides whether a body ended properly."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("shape", ["direct", "behind gzip", "around a mounted app", "on a mount"])
async def test_text_is_refused_if_a_broken_end_looks_clean(
    streams: PersistentTextStreaming, routes: StreamRoutes, shape: str
) -> None:
    """G5: if a middleware makes a broken response look complete, the server refuses ``text``."""
    name = await ended(streams, "x")

    async def live(request: Request) -> Response:
        return streams.response(request, name)

    hides, gzip = Middleware(Passing), Middleware(GZipMiddleware)
    leaf = Route(f"/{name}", live)
    app: Starlette
    if shape == "direct":
        app = Starlette(routes=[leaf], middleware=[hides])
    elif shape == "behind gzip":
        app = Starlette(routes=[leaf], middleware=[hides, gzip])
    elif shape == "around a mounted app":
        inner = Starlette(routes=[leaf], middleware=[gzip])
        app = Starlette(routes=[Mount("/in", inner)], middleware=[hides])
    else:
        app = Starlette(routes=[Mount("/in", routes, middleware=[hides])])
    path = f"/in/{name}" if "mount" in shape else f"/{name}"
    call = await ask(app, f"{path}?format=text")
    assert (call.status, call.code) == (406, "not_acceptable")
    assert "BaseHTTPMiddleware" in call.json["detail"]
    events = await ask(app, path)
    assert events.heard.end is not None


@pytest.mark.parametrize("error", [ConnectionResetError(), RuntimeError("a middleware's fault")])
async def test_a_failed_receive_is_a_disconnect(
    streams: PersistentTextStreaming,
    routes: StreamRoutes,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """G9: if ``receive`` raises, the server removes the reader and leaves no failed task."""
    name = await streams.create()
    sent, lost = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        await lost.wait()
        raise error

    async def send(message: Message) -> None:
        sent.set()

    answer = asyncio.create_task(routes(scope_of("GET", f"/{name}"), receive, send))
    await asyncio.wait_for(sent.wait(), 5)
    lost.set()
    await asyncio.wait_for(answer, 5)
    del answer
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
    assert ("receive() raised" in caplog.text) is isinstance(error, RuntimeError)
    assert not streams.engine.readers._readers
