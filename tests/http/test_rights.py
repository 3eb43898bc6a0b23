"""A reader loses its right while it follows, and a stream that is kept for forks looks absent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from inkstream import HTTPSettings, PersistentTextStreaming
from inkstream._types import StreamState
from tests.durable.mount import TEXT, client_of
from tests.http.asgi import Gate, ShiftedClock, ask, calling

AGAIN_S = 5.0


class Rights:
    """An ``authorize`` that returns or raises ``answer``, which is ``True`` at first."""

    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.asked = 0

    async def __call__(self, request: Request, stream: StreamState, action: str) -> bool:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def rights() -> Rights:
    return Rights()


def settings(authorize_again_s: float | None = AGAIN_S) -> HTTPSettings:
    return HTTPSettings(ping_s=1.0, life_s=None, authorize_again_s=authorize_again_s)


@pytest.mark.parametrize("format_", ["events", "text"])
@pytest.mark.parametrize("answer", [False, RuntimeError("the database of users is away")])
async def test_a_revoked_reader_is_cut(
    clock: ShiftedClock, rights: Rights, format_: str, answer: bool | Exception
) -> None:
    """A reader whose right is revoked is cut without a terminal event, and the stream continues.

    An ``authorize`` that raises also cuts the reader.
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
            asked = rights.asked
            gate.say("two ")
            await call.until(lambda: b"two" in call.body)
            assert rights.asked == asked + 1  # the reader that still has the right continues
            rights.answer = answer
            clock.ahead_s += AGAIN_S + 0.1
            gate.say("three ")
            await call.answered()
            assert call.heard.end is None
            assert call.finished == (format_ == "events")  # a ``text`` response ends broken
        if answer is False:
            assert (await ask(routes, f"/{name}")).status == 404
        rights.answer = True
        gate.say("four", None)
        assert (await streams.wait(name)).text == "one two three four"
        assert (await ask(routes, f"/{name}")).heard.text == "one two three four"


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
    """Behind ``authorize``, a deleted stream that is kept for its forks looks absent.

    The stream has no state that could be passed to ``authorize``. Where everybody may read, the
    response is 410.
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
