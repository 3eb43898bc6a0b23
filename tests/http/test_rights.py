from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from inkstream import HTTPSettings, PersistentTextStreaming, StoreUnavailable
from inkstream._types import StreamState
from inkstream.http.asgi import Authorize
from tests.durable.mount import TEXT, client_of
from tests.http.asgi import Gate, ShiftedClock, ask, calling
from tests.http.test_many import batch, following, started

AGAIN_S = 5.0

pytestmark = pytest.mark.usefixtures("absent_at_once")


class Rights:
    """An ``authorize`` that returns or raises ``answer``, which is ``True`` at first."""

    def __init__(self) -> None:
        self.answer: Any = True
        self.asked = 0
        self.called = asyncio.Event()

    async def __call__(self, request: Request, stream: StreamState, action: str) -> Any:
        self.asked += 1
        self.called.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def rights() -> Rights:
    return Rights()


def settings(authorize_again_s: float | None = AGAIN_S) -> HTTPSettings:
    return HTTPSettings(ping_s=1.0, life_s=None, authorize_again_s=authorize_again_s)


@pytest.mark.parametrize("format_", ["events", "text"])
@pytest.mark.parametrize("answer", [False, "yes", RuntimeError("the database of users is away")])
async def test_a_revoked_reader_is_cut(
    clock: ShiftedClock, rights: Rights, format_: str, answer: bool | str | Exception
) -> None:
    """If a later call of ``authorize`` denies a reader, the server ends the response.

    The response has no terminal event, and the stream continues. The server does the same if
    ``authorize`` raises an exception, or returns neither ``True`` nor ``False``.
    """
    gate = Gate()
    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        routes = streams.asgi(authorize=rights)
        name = await streams.create()
        streams.start(name, gate)
        async with calling(routes, f"/{name}?format={format_}") as call:
            gate.say("one ")
            await call.until(lambda: b"one" in call.body)
            clock.ahead_s += AGAIN_S + 0.1
            rights.called.clear()
            gate.say("two ")
            await rights.called.wait()
            gate.say("and ")
            # The reader still has the right, so it continues.
            await call.until(lambda: b"and" in call.body)
            rights.answer = answer
            clock.ahead_s += AGAIN_S + 0.1
            gate.say("three ")
            await call.answered()
            assert call.heard.end is None
            assert call.finished == (format_ == "events")  # a ``text`` response breaks off
        if answer is False:
            assert (await ask(routes, f"/{name}")).status == 404
        rights.answer = True
        gate.say("four", None)
        assert (await streams.wait(name)).text == "one two and three four"
        assert (await ask(routes, f"/{name}")).heard.text == "one two and three four"


async def test_a_denied_request_calls_authorize_once(
    streams: PersistentTextStreaming, rights: Rights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response takes as long as for an absent stream, but the server repeats no call."""
    monkeypatch.setattr("inkstream.http.follow.ABSENT_WAIT_S", 0.2)
    await streams.create("s")
    rights.answer = False
    assert (await ask(streams.asgi(authorize=rights), "/s")).status == 404
    assert rights.asked == 1


@pytest.mark.parametrize("answer", ["yes", 1, None, JSONResponse({"code": "login"}, 401)])
async def test_only_true_allows(
    streams: PersistentTextStreaming,
    rights: Rights,
    caplog: pytest.LogCaptureFixture,
    answer: Any,
) -> None:
    """If ``authorize`` returns neither ``True`` nor ``False``, the server denies the request.

    The server logs the type of the returned value.
    """
    await streams.create("s")
    await streams.create("log", kind="log")
    rights.answer = answer
    routes = streams.asgi(authorize=rights)
    durable = streams.durable_streams(authorize=rights)
    reads = [ask(routes, f"/s?format={name}") for name in ("events", "json", "text")]
    assert {call.status for call in await asyncio.gather(*reads)} == {404}
    assert (await ask(routes, "/s/cancel", method="POST")).status == 404
    assert not (await streams.read("s")).status.ended
    assert (await batch(routes, {"s": None}))["streams"] == {}
    async with client_of(durable) as client:
        assert (await client.put("/new", headers=TEXT)).status_code == 403
        assert (await client.post("/log", headers=TEXT, content=b"x")).status_code == 404
        for method in ("GET", "HEAD", "DELETE"):
            assert (await client.request(method, "/log")).status_code == 404
    logged = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(logged) == rights.asked
    assert f"the type {type(answer).__name__}, so the request was denied" in logged[0].getMessage()


async def test_a_silent_stream_checks_again_too(clock: ShiftedClock, rights: Rights) -> None:
    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        name = await streams.create()
        async with calling(streams.asgi(authorize=rights), f"/{name}") as call:
            await call.until(lambda: call.body)
            rights.answer = False
            clock.ahead_s += AGAIN_S + 0.1
            await call.answered()
            assert call.heard.end is None


async def test_rights_are_checked_once_if_configured(clock: ShiftedClock, rights: Rights) -> None:
    gate = Gate()
    once = settings(authorize_again_s=None)
    async with PersistentTextStreaming("memory://", clock=clock, http=once) as streams:
        name = await streams.create()
        streams.start(name, gate)
        async with calling(streams.asgi(authorize=rights), f"/{name}") as call:
            gate.say("one ")
            await call.text("one ")
            rights.answer = False
            clock.ahead_s += 3600
            gate.say("two", None)
            await call.answered()
            assert call.heard.text == "one two"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_a_stream_kept_for_forks_looks_absent(
    streams: PersistentTextStreaming, rights: Rights, method: str
) -> None:
    """With ``authorize``, the response for a deleted stream that its forks still need is 404.

    ``authorize`` cannot decide about this stream, because a deleted stream has no owner.
    """
    guarded = streams.durable_streams(authorize=rights)
    anonymous = streams.durable_streams(allow_anonymous=True)
    async with client_of(guarded) as some, client_of(anonymous) as everybody:
        assert (await everybody.put("/s", headers=TEXT, content=b"x")).status_code == 201
        fork = {"stream-forked-from": "/s"}
        assert (await everybody.put("/f", headers=fork)).status_code == 201
        assert (await everybody.delete("/s")).status_code == 204
        body: dict[str, Any] = {"headers": TEXT, "content": b"y"} if method == "POST" else {}
        absent, kept = await asyncio.gather(
            some.request(method, "/absent", **body), some.request(method, "/s", **body)
        )
        assert kept.status_code == absent.status_code == 404
        # The responses may differ only in the id that the client sent.
        assert kept.text.replace("/s", "").replace("'s'", "") == absent.text.replace(
            "/absent", ""
        ).replace("'absent'", "")
        assert (await everybody.request(method, "/s", **body)).status_code == 410
        assert (await everybody.get("/f")).content == b"x"


async def test_a_fork_of_a_kept_stream_finds_no_source(
    streams: PersistentTextStreaming, rights: Rights
) -> None:
    async with (
        client_of(streams.durable_streams(authorize=rights)) as some,
        client_of(streams.durable_streams(allow_anonymous=True)) as everybody,
    ):
        await everybody.put("/s", headers=TEXT, content=b"x")
        await everybody.put("/f", headers={"stream-forked-from": "/s"})
        await everybody.delete("/s")
        fork = {"stream-forked-from": "/s"}
        assert (await some.put("/g", headers=fork)).status_code == 404
        assert (await everybody.put("/g", headers=fork)).status_code == 409


async def test_main_mount_hides_a_kept_stream(
    streams: PersistentTextStreaming, rights: Rights
) -> None:
    async with client_of(streams.durable_streams(allow_anonymous=True)) as everybody:
        await everybody.put("/s", headers=TEXT, content=b"x")
        await everybody.put("/f", headers={"stream-forked-from": "/s"})
        await everybody.delete("/s")
    assert (await ask(streams.asgi(authorize=rights), "/s")).status == 404


async def test_a_slow_repeated_check_delays_no_stream(clock: ShiftedClock) -> None:
    """G9: while the server calls ``authorize`` again, all streams of the response go on.

    The server makes these calls for all streams at the same time. If a call denies a stream, only
    that stream ends.
    """
    waiting: set[str] = set()
    gate = asyncio.Event()

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if clock.ahead_s:
            waiting.add(stream.stream_id)
            await gate.wait()
        return not clock.ahead_s or stream.stream_id != "b"

    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        names = ("a", "b", "c")
        gates = await started(streams, *names)
        async with following(streams.asgi(authorize=authorize), dict.fromkeys(names)) as call:
            await call.until(lambda: len(call.many.heard) == 3)
            clock.ahead_s += AGAIN_S + 0.1
            for source in gates:
                source.say("one ")
            await call.until(lambda: waiting == set(names))
            await call.until(lambda: list(call.many.texts().values()) == ["one "] * 3)
            gate.set()
            await call.until(lambda: call.many.refused == {"b": (404, "not_found")})
            for source in gates:
                source.say("three", None)
            await call.answered()
        assert call.many.texts() == {"a": "one three", "b": "one ", "c": "one three"}


@pytest.mark.parametrize("format_", ["events", "text"])
async def test_a_slow_repeated_check_does_not_delay_its_stream(
    clock: ShiftedClock, format_: str
) -> None:
    """G9: while ``authorize`` is called again, a response for one stream goes on, and can end."""
    hanging = asyncio.Event()
    authorize = hangs_later(clock, hanging)
    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        [gate] = await started(streams, "a")
        async with calling(streams.asgi(authorize=authorize), f"/a?format={format_}") as call:
            gate.say("one ")
            await call.until(lambda: b"one" in call.body)
            clock.ahead_s += AGAIN_S + 0.1
            gate.say("two ")
            await hanging.wait()
            gate.say("three", None)
            await call.answered()
            assert b"three" in call.body
            assert call.finished


async def test_a_check_that_hangs_ends_with_the_response(clock: ShiftedClock) -> None:
    """G9: an ``authorize`` that hangs neither keeps a response open nor outlives the response."""
    hanging = asyncio.Event()
    authorize = hangs_later(clock, hanging)
    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        [gate] = await started(streams, "a")
        async with following(streams.asgi(authorize=authorize), {"a": None}) as call:
            await call.until(lambda: "a" in call.many.heard)
            clock.ahead_s += AGAIN_S + 0.1
            gate.say("one ")
            await hanging.wait()
            gate.say("two", None)
            await call.answered()
        assert call.many.texts() == {"a": "one two"}


@pytest.mark.parametrize("format_", ["events", "text"])
async def test_a_late_denial_ends_a_silent_response(clock: ShiftedClock, format_: str) -> None:
    """A denial ends the response when it arrives, and not at the next text or ping.

    While a call of ``authorize`` hangs, the response makes no second call.
    """
    calls: list[asyncio.Event] = []

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if clock.ahead_s:
            calls.append(asyncio.Event())
            await calls[-1].wait()
        return not clock.ahead_s

    http = HTTPSettings(ping_s=3600, life_s=None, authorize_again_s=AGAIN_S)
    async with PersistentTextStreaming("memory://", clock=clock, http=http) as streams:
        [gate] = await started(streams, "a")
        async with calling(streams.asgi(authorize=authorize), f"/a?format={format_}") as call:
            for size in range(1, 5):
                gate.say("piece ")  # longer than the random tag of an offset
                await call.until(lambda size=size: call.body.count(b"piece") >= size)
                clock.ahead_s += AGAIN_S + 0.1
            assert len(calls) == 1
            calls[0].set()
            await call.answered()
            assert call.heard.end is None
        gate.say(None)


async def test_a_timeout_of_the_application_is_its_own_error(
    streams: PersistentTextStreaming, caplog: pytest.LogCaptureFixture
) -> None:
    """If ``authorize`` itself raises ``TimeoutError``, the log does not say "was cancelled"."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        raise TimeoutError("the database of users is slow")

    await streams.create("s")
    found = await batch(streams.asgi(authorize=authorize), {"s": None})
    assert found["refused"]["s"] == {"status": 500, "code": "internal"}
    assert "the database of users is slow" in caplog.text
    assert "was cancelled" not in caplog.text


def hangs_later(clock: ShiftedClock, hanging: asyncio.Event) -> Authorize:
    """Return an ``authorize`` that, after the clock was moved, sets ``hanging`` and hangs."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if clock.ahead_s:
            hanging.set()
            await asyncio.Event().wait()
        return True

    return authorize


async def test_a_check_that_hangs_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """An ``authorize`` that takes too long is cancelled, and the client may try again."""

    async def authorize(request: Request, *_: object) -> bool:
        await asyncio.Event().wait()
        return True

    http = HTTPSettings(authorize_timeout_s=0.05)
    async with PersistentTextStreaming("memory://", http=http) as streams:
        await streams.create("s")
        routes = streams.asgi(authorize=authorize)
        calls = [ask(routes, f"/s?format={name}") for name in ("events", "json", "text")]
        calls.append(ask(routes, "/s/cancel", method="POST"))
        calls.append(ask(streams.durable_streams(authorize=authorize), "/s"))
        inspector = await asyncio.to_thread(streams.inspector, authorize=authorize)
        calls.append(ask(inspector, "/api/overview"))
        calls.append(ask(streams.doctor_probe(authorize=authorize), "/echo"))
        for call in await asyncio.gather(*calls):
            assert (call.status, call.code) == (503, "check_failed")
            assert call.headers["retry-after"] == "1"
        async with following(routes, {"s": None}) as many:
            await many.answered()
            assert many.many.refused == {"s": (503, "check_failed")}
        found = await batch(routes, {"s": None})
        assert found["refused"]["s"]["code"] == "check_failed"
        assert {r.getMessage() for r in caplog.records if r.levelname == "ERROR"} == {
            "authorize took longer than 0.05 s, so it was cancelled"
        }


async def test_a_repeated_check_that_hangs_ends_its_stream(clock: ShiftedClock) -> None:
    """If a repeated ``authorize`` takes too long, the server ends the reader's response.

    The reader may come back.
    """
    authorize = hangs_later(clock, asyncio.Event())
    http = replace(settings(), authorize_timeout_s=0.05)
    async with PersistentTextStreaming("memory://", clock=clock, http=http) as streams:
        await streams.create("a")
        routes = streams.asgi(authorize=authorize)
        async with calling(routes, "/a") as one, following(routes, {"a": None}) as many:
            await one.until(lambda: one.body)
            await many.until(lambda: "a" in many.many.heard)
            clock.ahead_s += AGAIN_S + 0.1
            await asyncio.gather(one.answered(), many.answered())
            assert (one.heard.end, one.finished) == (None, True)
            assert many.many.refused == {"a": (503, "check_failed")}


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (RuntimeError("the database of users is away"), (503, "check_failed")),
        (StoreUnavailable("away"), (503, "store_unavailable")),
        (HTTPException(401), (401, "unauthorized")),
    ],
)
async def test_a_repeated_check_that_raises_ends_its_stream_alone(
    clock: ShiftedClock, error: Exception, refusal: tuple[int, str]
) -> None:
    """G5: if ``authorize`` raises for one stream, the server refuses only that stream."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if clock.ahead_s and stream.stream_id == "a":
            raise error
        return True

    async with PersistentTextStreaming("memory://", clock=clock, http=settings()) as streams:
        gates = await started(streams, "a", "b")
        routes = streams.asgi(authorize=authorize)
        async with following(routes, {"a": None, "b": None}) as call:
            await call.until(lambda: len(call.many.heard) == 2)
            clock.ahead_s += AGAIN_S + 0.1
            gates[1].say("one ")
            await call.until(lambda: call.many.refused == {"a": refusal})
            gates[1].say("two", None)
            await call.answered()
            assert call.many.texts()["b"] == "one two"
            assert call.many.heard["a"].end is None
            assert call.finished
        gates[0].say(None)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorized"), (429, "too_many_requests"), (499, "refused")]
)
async def test_an_http_exception_refuses_with_its_status(
    streams: PersistentTextStreaming, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If ``authorize`` raises an ``HTTPException``, the refusal has the status of the exception."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        raise HTTPException(status)

    await streams.create("a")
    routes = streams.asgi(authorize=authorize)
    async with following(routes, {"a": None}) as call:
        await call.answered()
    assert call.many.refused == {"a": (status, code)}
    assert (await batch(routes, {"a": None}))["refused"] == {"a": {"status": status, "code": code}}
    assert not caplog.records


async def test_a_refusal_of_one_stream_says_when_to_try_again(
    streams: PersistentTextStreaming,
) -> None:
    """``refused`` says for both streams after how many seconds the client may try again."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if stream.stream_id == "a":
            raise HTTPException(429, headers={"Retry-After": "30"})
        raise StoreUnavailable("away")

    await streams.create("a")
    await streams.create("b")
    routes = streams.asgi(authorize=authorize)
    refused = {
        "a": {"status": 429, "code": "too_many_requests", "retry_after": "30"},
        "b": {"status": 503, "code": "store_unavailable", "retry_after": "1"},
    }
    assert (await ask(routes, "/b")).headers["retry-after"] == "1"
    assert (await batch(routes, {"a": None, "b": None}))["refused"] == refused
    async with following(routes, {"a": None, "b": None}) as call:
        await call.answered()
    for name, refusal in refused.items():
        event = json.dumps({"stream_id": name, **refusal})
        assert f"event: refused\ndata: {event}\n\n".encode() in call.body
