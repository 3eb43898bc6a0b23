"""One request can follow many streams, and each stream has its own checks, offset and end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream import PersistentTextStreaming, StreamError
from inkstream._types import StreamState
from inkstream.engine.bundle import TURN_BYTES
from inkstream.http.many import MAX_STREAMS
from inkstream.http.routes import StreamRoutes
from tests.http.asgi import DEADLINE_S, Call, Gate, ShiftedClock, ask, scope_of
from tests.http.sse import Event, Heard


class Many:
    def __init__(self) -> None:
        self.heard: dict[str, Heard] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.order: list[str] = []
        self._current = ""

    def take(self, event: Event) -> None:
        if event.event == "stream":
            self._current = event.value["stream_id"]
            self.heard.setdefault(self._current, Heard())
            self.order.append(self._current)
        elif event.event == "refused":
            self.refused[event.value["stream_id"]] = event.value["status"], event.value["code"]
        else:
            self.heard[self._current].take(event)

    def texts(self) -> dict[str, str]:
        return {name: heard.text for name, heard in self.heard.items()}

    def offsets(self) -> dict[str, str | None]:
        return {name: heard.last_id or None for name, heard in self.heard.items()}


class ManyCall(Call):
    def __init__(self, app: ASGIApp, scope: dict[str, Any], body: bytes) -> None:
        self.many = Many()
        super().__init__(app, scope, body)

    def hear(self, data: bytes) -> None:
        for event in self.parser.feed(data):
            self.many.take(event)


@asynccontextmanager
async def following(
    app: ASGIApp,
    wanted: Mapping[str, str | None] | None,
    *,
    path: str = "/follow",
    body: bytes | None = None,
    accept: str = "text/event-stream",
    held: Many | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[ManyCall]:
    sent = {"accept": accept, "content-type": "application/json", **(headers or {})}
    scope = scope_of("POST", path, sent)
    given = json.dumps({"streams": wanted}).encode() if body is None else body
    call = ManyCall(app, scope, given)
    call.many = held or call.many
    try:
        yield call
    finally:
        call.disconnect()
        call.takes.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(call.task, return_exceptions=True)


async def batch(app: ASGIApp, wanted: Mapping[str, str | None], path: str = "/follow") -> Any:
    async with following(app, wanted, path=path, accept="application/json") as call:
        await call.answered()
        assert call.headers["content-type"] == "application/json"
        return call.json


async def started(streams: PersistentTextStreaming, *names: str) -> list[Gate]:
    gates = []
    for name in names:
        await streams.create(name)
        gates.append(Gate())
        streams.start(name, gates[-1])
    return gates


async def test_each_stream_is_heard_live_and_ends_by_itself(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G2, G5: the client gets each stream live. If one stream ends, the other streams go on."""
    a, b = await started(streams, "a", "b")
    async with following(routes, {"a": None, "b": None}) as call:
        a.say("one ")
        await call.until(lambda: call.many.texts().get("a") == "one ")
        b.say("two ", {"n": 2})
        await call.until(lambda: call.many.heard["b"].objects == [{"n": 2}])
        a.say(StreamError("It failed.", code="failed"))
        await call.until(lambda: call.many.heard["a"].end is not None)
        b.say("more", None)
        await call.answered()
        many = call.many
        assert call.finished
    assert many.texts() == {"a": "one ", "b": "two more"}
    assert many.heard["a"].end["code"] == "failed"  # type: ignore[index]
    assert many.heard["b"].end["status"] == "done"  # type: ignore[index]


async def test_bytes_are_those_of_the_single_route(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    [a] = await started(streams, "a")
    a.say("x", {"n": 1}, "y", None)
    await streams.wait("a")
    single = (await ask(routes, "/a")).body.partition(b": ping\n\n")[2]
    async with following(routes, {"a": None}) as call:
        await call.answered()
    assert call.body.endswith(single)


async def test_streams_resume_at_any_cut(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G2: a client leaves and returns 30 times, each time for some of the streams.

    It gets the text of each stream once.
    """
    chooser = random.Random(7)
    names = [f"s{number}" for number in range(6)]
    gates = await started(streams, *names)
    expected = dict.fromkeys(names, "")
    held = Many()
    for turn in range(30):
        some = chooser.sample(names, chooser.randint(1, 6))
        offsets = held.offsets()
        wanted = {name: offsets.get(name) for name in some}
        async with following(routes, wanted, held=held) as call:
            for name in chooser.sample(some, chooser.randint(0, len(some))):
                gates[names.index(name)].say(f"{turn}:{name} ")
                expected[name] += f"{turn}:{name} "
            await call.until(
                lambda some=some: all(
                    call.many.texts().get(name, "") == expected[name] for name in some
                )
            )
    for gate in gates:
        gate.say(None)
    wanted = {**dict.fromkeys(names), **held.offsets()}
    async with following(routes, wanted, held=held) as call:
        await call.answered()
        assert call.many.texts() == expected


async def test_denied_equals_absent_and_delays_nothing(
    streams: PersistentTextStreaming, clock: ShiftedClock
) -> None:
    """G10: the server refuses absent and denied streams after a second.

    The other streams of the request do not wait for this.
    """

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        assert action == "read"
        return stream.owner == "ann"

    routes = streams.asgi(authorize=authorize)
    for name, owner in (("mine", "ann"), ("yours", "bob")):
        await streams.create(name, owner=owner)
    gate = Gate()
    streams.start("mine", gate)
    gate.say("hello")
    wanted = dict.fromkeys(["yours", "absent", "a" * 400, "mine", "late"])
    async with following(routes, wanted) as call:
        await call.until(lambda: call.many.texts().get("mine") == "hello")
        assert set(call.many.refused) <= {"a" * 400}
        await streams.create("late", owner="ann")
        await call.until(lambda: "late" in call.many.heard)
        clock.ahead_s += 2
        await call.until(lambda: len(call.many.refused) == 3)
        assert set(call.many.refused.values()) == {(404, "not_found")}
        assert set(call.many.heard) == {"mine", "late"}
        gate.say(None)
        await streams.cancel("late")
        await call.answered()
        assert call.finished


async def test_gone_and_malformed_offsets_are_refused_alone(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G10: a refused offset of one stream does not affect the other streams of the request."""
    for name in ("a", "b", "c", "d"):
        await streams.create(name)
        await streams.cancel(name)
    async with following(routes, dict.fromkeys("abcd")) as call:
        await call.answered()
    offsets = call.many.offsets()
    assert offsets["a"] is not None
    await streams.delete("b")
    await streams.create("b")
    wanted = {"a": offsets["a"], "b": offsets["b"], "c": "nonsense", "d": "-1"}
    async with following(routes, wanted) as call:
        await call.answered()
    assert call.many.refused == {
        "a": (204, "ended"),
        "b": (410, "offset_gone"),
        "c": (400, "invalid_offset"),
    }
    assert call.many.heard["d"].end is not None


async def test_deleted_while_followed_is_refused(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    a, b = await started(streams, "a", "b")
    a.say("a")
    async with following(routes, {"a": None, "b": None}) as call:
        await call.until(lambda: call.many.texts().get("a") == "a")
        await streams.delete("a")
        await call.until(lambda: call.many.refused.get("a") == (404, "not_found"))
        b.say("goes on", None)
        await call.answered()
        assert call.many.texts()["b"] == "goes on"


async def test_catching_up_does_not_starve_the_others(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G9: the streams take turns of a limited size, so a long text does not delay a short text."""
    for name in ("big", "small"):
        await streams.create(name)
        async with streams.write(name) as writer:
            for _ in range(40 if name == "big" else 1):
                await writer.append(name * 6_000)
                await writer.flush()
    async with following(routes, {"big": None, "small": None}) as call:
        await call.answered()
        many = call.many
    assert many.texts() == {"big": "big" * 240_000, "small": "small" * 6_000}
    turns = [name for name in many.order[2:] if name == "small"]
    assert turns
    first = call.body.index(b"smallsmall")
    assert first < 6 * TURN_BYTES
    assert max(len(m.get("body", b"")) for m in call.messages) < 4 * TURN_BYTES


@pytest.mark.usefixtures("absent_at_once")
async def test_batch_is_one_json_answer(
    streams: PersistentTextStreaming, routes: StreamRoutes, clock: ShiftedClock
) -> None:
    a, b = await started(streams, "a", "b")
    a.say("one ", {"n": 1})
    b.say("two", None)
    await streams.wait("b")
    async with following(routes, {"a": None}) as call:
        await call.until(lambda: "a" in call.many.heard and call.many.heard["a"].objects)
        middle = call.many.offsets()["a"]
    answer = await batch(routes, {"a": None, "b": None, "gone": None, "bad": "x"})
    assert list(answer["streams"]) == ["a", "b"]
    assert answer["streams"]["a"]["parts"] == ["one ", {"n": 1}]
    assert (answer["streams"]["b"]["status"], answer["streams"]["b"]["parts"]) == ("done", ["two"])
    assert answer["refused"] == {
        "gone": {"status": 404, "code": "not_found"},
        "bad": {"status": 400, "code": "invalid_offset"},
    }
    a.say("three")
    again = answer
    async with asyncio.timeout(DEADLINE_S):
        while again["streams"]["a"]["offset"] == answer["streams"]["a"]["offset"]:
            again = await batch(routes, {"a": middle})
    assert again["streams"]["a"]["parts"] == ["three"]
    assert (await batch(routes, {"zzz": None}))["streams"] == {}
    a.say(None)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"x",
            b"[]",
            b"{}",
            b'{"streams": []}',
            b'{"streams": {}}',
            b'{"streams": {"a": 1}}',
        ),
        *(b"[" * 5000, b"\xff"),
        json.dumps({"streams": dict.fromkeys(map(str, range(MAX_STREAMS + 1)))}).encode(),
    ],
)
async def test_malformed_body_is_refused(routes: StreamRoutes, body: bytes) -> None:
    async with following(routes, None, body=body) as call:
        await call.answered()
        assert (call.status, call.code) == (400, "invalid")


async def test_too_large_or_foreign_request_is_refused(routes: StreamRoutes) -> None:
    async with following(routes, None, body=b"x" * 100_000) as call:
        await call.answered()
        assert (call.status, call.code) == (413, "body_too_large")
    forged = {"cookie": "session=1", "origin": "https://evil.example"}
    async with following(routes, {"a": None}, headers=forged) as call:
        await call.answered()
        assert (call.status, call.code) == (403, "cross_site")
    async with following(routes, {"a": None}, accept="text/plain") as call:
        await call.answered()
        assert (call.status, call.code) == (406, "not_acceptable")
    answer = await ask(routes, "/follow", method="PATCH")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.usefixtures("absent_at_once")
@pytest.mark.parametrize("query", ["", "?format=json", "?format=text", "?offset=never"])
async def test_offered_by_every_answer_of_the_routes(
    streams: PersistentTextStreaming, routes: StreamRoutes, query: str
) -> None:
    """The responses of ``asgi()`` have the header ``Stream-Follow``.

    A client that has received this header may request many streams at once. The response for an
    absent stream has the header too, so that absent and denied streams look alike (G10).
    """
    await streams.create("a")
    await streams.cancel("a")
    for name in ("a", "absent"):
        answer = await ask(routes, f"/{name}{query}")
        assert answer.headers["stream-follow"] == "follow", answer.status

    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"stream-follow": "many"} if scope["path"] == "/offered" else None
        await streams.response(Request(scope, receive), "a", headers=headers)(scope, receive, send)

    assert "stream-follow" not in (await ask(own, f"/a{query}")).headers
    assert (await ask(own, f"/offered{query}")).headers["stream-follow"] == "many"


async def test_stream_named_follow_is_still_a_stream(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    await streams.create("follow")
    await streams.cancel("follow")
    assert (await ask(routes, "/follow?format=json")).json["status"] == "cancelled"
    assert (await ask(routes, "/follow/cancel", method="POST")).status == 204


@pytest.mark.usefixtures("absent_at_once")
async def test_own_route_checks_owner_and_group(streams: PersistentTextStreaming) -> None:
    for name, owner in (("mine", "ann"), ("yours", "bob")):
        await streams.create(name, owner=owner)
        await streams.cancel(name)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = {"mine": None, "yours": None}
        response = streams.response_many(
            Request(scope, receive), wanted, owner="ann", headers={"x-own": "1"}
        )
        await response(scope, receive, send)

    async with following(app, None, body=b"") as call:
        await call.answered()
        assert call.headers["x-own"] == "1"
        assert call.many.refused == {"yours": (404, "not_found")}
        assert call.many.heard["mine"].end is not None
    answer = await batch(app, {})
    assert list(answer["streams"]) == ["mine"]


async def test_fastapi_router_serves_it(streams: PersistentTextStreaming) -> None:
    api = FastAPI()
    api.include_router(streams.router(allow_anonymous=True), prefix="/streams")
    await streams.create("a")
    await streams.cancel("a")
    assert list((await batch(api, {"a": None}, "/streams/follow"))["streams"]) == ["a"]
    document = api.openapi()["paths"]["/streams/follow"]["post"]
    schema = document["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["streams"]["maxProperties"] == MAX_STREAMS


async def test_client_that_leaves_frees_its_readers(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G9: when a client of many streams leaves, the server forgets all readers of that client."""
    await started(streams, "a", "b")
    readers = streams.engine.readers
    async with following(routes, {"a": None, "b": None, "absent": None}) as call:
        await call.until(lambda: len(call.many.heard) == 2)
        assert len(readers._readers) == 2
    assert not readers._readers
    assert not readers._bundles


async def test_pings_and_a_client_that_reads_nothing(
    streams: PersistentTextStreaming, routes: StreamRoutes, clock: ShiftedClock
) -> None:
    [a] = await started(streams, "a")
    async with following(routes, {"a": None}) as call:
        await call.until(lambda: "a" in call.many.heard)
        pings = call.body.count(b": ping")
        clock.ahead_s += 16
        await call.until(lambda: call.body.count(b": ping") == pings + 1)
        call.takes.clear()
        a.say("text")
        async with asyncio.timeout(DEADLINE_S):
            while not call.task.done():
                clock.ahead_s += 31
                await asyncio.sleep(0.05)
    assert not streams.engine.readers._readers
