"""A mount limits what its clients can use, and does not fail at an unusual request."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from inkstream import PersistentTextStreaming, Result, StreamError, wire
from inkstream._types import Query, StreamState
from inkstream.durable.app import DurableStreams
from inkstream.durable.quota import RECOUNT_S
from inkstream.durable.settings import DurableSettings
from inkstream.engine.settings import FinerLimits
from tests.durable.mount import JSON, TEXT, client_of, producing
from tests.http.asgi import ShiftedClock, scope_of


async def test_hot_polling_of_a_closed_stream_is_limited(
    streams: PersistentTextStreaming, clock: ShiftedClock
) -> None:
    """G9: a client that polls a closed stream too fast gets 429, and may poll again later."""
    slow = DurableSettings(closed_polls_per_s=1, closed_poll_burst=5)
    app = streams.durable_streams(allow_anonymous=True, settings=slow)
    async with client_of(app) as client:
        put = await client.put("/s", headers=TEXT | {"stream-closed": "true"}, content=b"x")
        end = {"offset": put.headers["stream-next-offset"]}
        codes = [(await client.get("/s", params=end)).status_code for _ in range(6)]
        assert codes == [200] * 5 + [429]
        answer = await client.get("/s", params=end)
        assert answer.headers["retry-after"]
        assert answer.headers["stream-closed"] == "true"
        assert (await client.get("/s")).content == b"x"
        clock.ahead_s += 2
        assert (await client.get("/s", params=end)).status_code == 200


async def test_a_stream_has_a_cap_on_producers(database: str) -> None:
    """G9: a stream has a limited number of producers, even if all of them send at once.

    If the limit is reached, the known producers can go on.
    """
    limits = FinerLimits(marks_per_stream=5)
    async with (
        PersistentTextStreaming(database, limits=limits) as streams,
        client_of(streams.durable_streams(allow_anonymous=True)) as client,
    ):
        await client.put("/s", headers=JSON)
        answers = await asyncio.gather(
            *[
                client.post("/s", headers=JSON | producing(0, f"p{i}"), content=b"%d" % i)
                for i in range(7)
            ],
            client.post("/s", headers=JSON, content=b"7"),
        )
        taken = [i for i, answer in enumerate(answers) if answer.status_code in (200, 204)]
        assert [answer.status_code for answer in answers].count(429) == 2
        assert sorted((await client.get("/s")).json()) == taken
        again = JSON | producing(1, f"p{taken[0]}")
        assert (await client.post("/s", headers=again, content=b"8")).status_code == 200


async def test_the_number_of_streams_is_limited(
    streams: PersistentTextStreaming, database: str, clock: ShiftedClock
) -> None:
    """G9: all mounts together have a limit of streams. The application's streams do not count.

    After a deletion in one mount, this mount can create another stream at once. The other mounts
    can create another stream after ``RECOUNT_S``.
    """
    few = DurableSettings(max_streams=3)
    async with (
        client_of(streams.durable_streams(allow_anonymous=True, settings=few)) as here,
        client_of(streams.durable_streams(allow_anonymous=True, settings=few)) as elsewhere,
    ):
        await streams.create("chat/1")
        answers = await asyncio.gather(*[here.put(f"/{i}", headers=TEXT) for i in range(5)])
        assert Counter(answer.status_code for answer in answers) == {201: 3, 429: 2}
        refused = await elsewhere.put("/another", headers=TEXT | {"stream-closed": "true"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        there = [i for i, answer in enumerate(answers) if answer.status_code == 201]
        assert (await here.put(f"/{there[0]}", headers=TEXT)).status_code == 200

        for i in there[:2]:
            assert (await here.delete(f"/{i}")).status_code == 204
        assert (await here.put("/5", headers=TEXT)).status_code == 201
        assert (await elsewhere.put("/6", headers=TEXT)).status_code == 429
        clock.ahead_s += RECOUNT_S
        assert (await elsewhere.put("/6", headers=TEXT)).status_code == 201


async def test_places_of_an_old_count_are_lost(
    streams: PersistentTextStreaming, clock: ShiftedClock
) -> None:
    """G9: if a mount was idle for ``RECOUNT_S``, it counts the streams again.

    Other processes may have created streams in the meantime.
    """
    few = DurableSettings(max_streams=16)
    async with (
        client_of(streams.durable_streams(allow_anonymous=True, settings=few)) as idle,
        client_of(streams.durable_streams(allow_anonymous=True, settings=few)) as busy,
    ):
        assert (await idle.put("/first", headers=TEXT)).status_code == 201
        # Without a new count, ``idle`` could now create another stream.
        for i in range(15):
            assert (await busy.put(f"/{i}", headers=TEXT)).status_code == 201
        clock.ahead_s += RECOUNT_S
        assert (await idle.put("/late", headers=TEXT)).status_code == 429
        assert (await busy.delete("/0")).status_code == 204
        clock.ahead_s += RECOUNT_S
        assert (await idle.put("/late", headers=TEXT)).status_code == 201


async def test_a_slow_count_is_used_for_longer(
    streams: PersistentTextStreaming, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that takes 2 s is used for 200 s, so that counting takes at most 1 % of the time."""
    counts = 0
    find = streams.engine.readers.find

    async def slow(query: Query) -> Sequence[StreamState]:
        nonlocal counts
        counts += 1
        clock.ahead_s += 2
        return await find(query)

    monkeypatch.setattr(streams.engine.readers, "find", slow)
    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        for after_s, expected in ((0, 1), (2 * RECOUNT_S, 1), (200, 2)):
            clock.ahead_s += after_s
            assert (await client.put(f"/{after_s}", headers=TEXT)).status_code == 201
            assert counts == expected


async def test_the_size_of_bodies_is_limited(streams: PersistentTextStreaming) -> None:
    small = DurableSettings(body_bytes=1000)
    app = streams.durable_streams(allow_anonymous=True, settings=small)
    async with client_of(app) as client:
        await client.put("/s", headers=TEXT)
        assert (await client.post("/s", headers=TEXT, content=b"x" * 1000)).status_code == 204
        answer = await client.post("/s", headers=TEXT, content=b"x" * 1001)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert (await client.get("/s")).headers["content-length"] == "1000"


async def raw(
    app: DurableStreams, method: str, headers: Mapping[str, str], body: bytes, query: str
) -> int:
    """Make a request that most clients would refuse to send, and return the status."""
    statuses: list[int] = []
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()  # the client stays connected
        return messages.pop(0)

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    await app(scope_of(method, "/fuzz", headers, query=query), receive, send)
    return statuses[0]


HEADERS: Sequence[str] = (
    *("content-type", "content-length", "expect", "if-none-match", "authorization", "cookie"),
    *("stream-ttl", "stream-expires-at", "stream-closed", "stream-seq", "stream-forked-from"),
    *("stream-fork-offset", "stream-fork-sub-offset", "producer-id", "producer-epoch"),
    *("producer-seq", "host", "origin"),
)
VALUES = st.text(alphabet=st.characters(max_codepoint=255), max_size=20) | st.sampled_from(
    [
        *("0", "1", "true", "text/plain", "application/json", "2030-01-01T00:00:00Z", "/fuzz"),
        *("9999999999_999999999_AAAA", "0000000000_000000000_AAAA", "100-continue"),
        *("http://[", "99999999999999999999", "\u00b2"),
    ]
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["memory"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]),
    headers=st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=5),
    body=st.sampled_from([b"", b"x", b"[]", b"[1]", b"\xff"]),
    query=st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)
    | st.sampled_from(
        [
            *("offset=-1", "offset=now&live=long-poll", "offset=-1&live=sse", "offset=%FF"),
            "offset=-1&cursor=x",
        ]
    ),
)
async def test_no_request_causes_a_500(
    streams: PersistentTextStreaming,
    method: str,
    headers: dict[str, str],
    body: bytes,
    query: str,
) -> None:
    app = DurableStreams(
        lambda: streams.engine,
        allow_anonymous=True,
        settings=DurableSettings(long_poll_s=0.01, live_s=0.01),
    )
    status = await raw(app, method, headers, body, query)
    assert 200 <= status < 500 or status == 501, json.dumps([method, headers, query])


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


def ending_with(way: str, value: Any) -> Any:
    async def yields() -> AsyncIterator[Result]:
        yield Result(value)

    async def returns(append: Any) -> Any:
        return value

    async def raises() -> AsyncIterator[Result]:
        yield Result("kept before")
        raise StreamError("It failed.", code="failed", result=value)

    return {"yields": yields, "returns": returns, "raises": raises}[way]


@pytest.mark.parametrize("way", ["yields", "returns", "raises"])
async def test_deepest_result_is_sent(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, way: str
) -> None:
    """G5: the deepest allowed result is sent. A deeper result ends its stream with an error."""

    async def end_of(depth: int) -> Any:
        name = await streams.create()
        await streams.start(name, ending_with(way, nested(depth)))
        return (await client.get(f"/{name}")).json()[-1][wire.END_KEY]

    deepest = wire.MAX_JSON_DEPTH - 2
    assert (await end_of(deepest))["result"] == nested(deepest)
    deeper = await end_of(deepest + 1)
    assert (deeper["status"], deeper["code"]) == ("error", "invalid_message")
    assert deeper["result"] == ("kept before" if way == "raises" else None)
