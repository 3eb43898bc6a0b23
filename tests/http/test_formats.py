from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from inkstream import End, PersistentTextStreaming, Result, Status, StreamError
from inkstream.http.routes import StreamRoutes
from inkstream.wire import Offset
from tests.http.asgi import Call, Gate, ask, calling, scope_of
from tests.http.sse import Heard, Parser


async def ended(
    streams: PersistentTextStreaming, *items: object, stream_id: str | None = None
) -> str:
    """Create and end a stream with these items. Return its id."""
    name = await streams.create(stream_id)
    gate = Gate()
    gate.say(*items, None)
    await streams.start(name, gate)
    return name


async def test_events_begin_with_retry_and_a_ping(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create()
    async with calling(routes, f"/{name}") as call:
        await call.until(lambda: call.body)
        assert call.status == 200
        assert call.body == b"retry: 1000\n: ping\n\n"
        assert call.headers["content-type"] == "text/event-stream"
        assert call.headers["x-accel-buffering"] == "no"
        assert call.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in call.headers


async def test_events_have_an_offset_each(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await ended(
        streams, "Hello, ", {"type": "tool_call", "n": 1}, "world", Result({"tokens": 12})
    )
    call = await ask(routes, f"/{name}")
    events = Parser().feed(call.body)
    assert [(e.event, e.value) for e in events] == [
        ("message", "Hello, "),
        ("message", {"type": "tool_call", "n": 1}),
        ("message", "world"),
        ("end", {"status": "done", "code": None, "message": None, "result": {"tokens": 12}}),
    ]
    assert call.finished
    ids = [e.id for e in events]
    assert ids == sorted(set(ids))
    assert ids[-1] == ids[-2] + ".end"
    assert [Offset.parse(i).position for i in ids] == [1, 2, 3, 3]


@pytest.mark.parametrize("carrier", ["header", "query"])
async def test_any_offset_gives_the_rest_and_no_more(
    streams: PersistentTextStreaming, routes: StreamRoutes, carrier: str
) -> None:
    """G2: a client that continues at any offset gets exactly the rest of the stream."""
    pieces = ["one ", {"n": 2}, "three ", {"n": 4}, "five"]
    name = await ended(streams, *pieces)
    everything = Heard()
    for event in Parser().feed((await ask(routes, f"/{name}")).body):
        everything.take(event)
    before = Heard()
    for event in Parser().feed((await ask(routes, f"/{name}")).body)[:-1]:
        before.take(event)
        here = before.last_id
        if carrier == "header":
            call = await ask(routes, f"/{name}", headers={"last-event-id": here})
        else:
            call = await ask(routes, f"/{name}?offset={here}")
        rest = Heard(last_id=here)
        for later in Parser().feed(call.body):
            rest.take(later)
        assert before.text + rest.text == everything.text
        assert before.objects + rest.objects == everything.objects
        assert rest.end == everything.end


async def test_the_header_overrides_the_query(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await ended(streams, "one ", {"n": 2}, "three")
    ids = (await ask(routes, f"/{name}")).heard.ids
    both = await ask(routes, f"/{name}?offset={ids[0]}", headers={"last-event-id": ids[1]})
    assert both.heard.ids == ids[2:]
    empty = await ask(routes, f"/{name}?offset={ids[0]}", headers={"last-event-id": ""})
    assert empty.heard.ids == ids[1:]


@pytest.mark.parametrize("start", ["-1"])
async def test_minus_one_is_the_start(
    streams: PersistentTextStreaming, routes: StreamRoutes, start: str
) -> None:
    name = await ended(streams, "all of it")
    assert (await ask(routes, f"/{name}?offset={start}")).heard.text == "all of it"


async def test_now_is_the_tail_of_a_log(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create(kind="log")
    await streams.post(name, {"n": 1})
    async with calling(routes, f"/{name}?offset=now") as call:
        await call.until(lambda: call.body)
        await streams.post(name, {"n": 2})
        await call.until(lambda: call.heard.objects)
        assert call.heard.objects == [{"n": 2}]
    snapshot = (await ask(routes, f"/{name}?offset=now&format=json")).json
    assert snapshot["parts"] == []
    assert snapshot["offset"] == call.heard.last_id


async def test_204_only_after_the_end_was_seen(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G5: 204 stops an EventSource for ever, so only a client that has seen the end gets 204."""
    name = await ended(streams, "text")
    ids = (await ask(routes, f"/{name}")).heard.ids
    seen = await ask(routes, f"/{name}", headers={"last-event-id": ids[-1]})
    assert (seen.status, seen.body, seen.finished) == (204, b"", True)
    not_seen = await ask(routes, f"/{name}", headers={"last-event-id": ids[-2]})
    assert not_seen.status == 200
    assert not_seen.heard.ids == ids[-1:]
    assert not_seen.heard.end is not None
    early = ids[-2].replace("_000000001_", "_000000000_") + ".end"
    assert (await ask(routes, f"/{name}", headers={"last-event-id": early})).status == 410
    live = await streams.create()
    async with calling(routes, f"/{live}", headers={"last-event-id": "-1"}) as call:
        await call.until(lambda: call.body)
        assert call.status == 200


async def test_each_end_has_its_terminal_event(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G5: a terminal event has the status, code and public message of the stream's end.

    It does not contain the text of an unexpected exception.
    """
    cancelled = await streams.create()
    await streams.cancel(cancelled)
    failed = await ended(streams, "half", StreamError("Try later.", code="overloaded", result=[1]))
    crashed = await ended(streams, ValueError("secret"))
    found = [(await ask(routes, f"/{name}")).heard.end for name in (cancelled, failed, crashed)]
    assert found[0] is not None
    assert found[0]["status"] == "cancelled"
    assert found[1] == {
        "status": "error",
        "code": "overloaded",
        "message": "Try later.",
        "result": [1],
    }
    assert found[2] is not None
    assert (found[2]["status"], found[2]["code"]) == ("error", "internal")
    assert "secret" not in json.dumps(found[2])


async def test_a_snapshot_has_the_text_and_its_offset(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create(owner="ann", metadata={"secret": True})
    gate = Gate()
    streams.start(name, gate)
    gate.say("Hello, ", "world", {"type": "tool"})
    async with calling(routes, f"/{name}") as live:
        await live.until(lambda: live.heard.objects)
        middle = await ask(routes, f"/{name}?format=json")
        gate.say("!", Result(7), None)
        await live.until(lambda: live.heard.end)
    assert middle.headers["content-type"] == "application/json"
    body = middle.json
    assert set(body) == {
        *("stream_id", "kind", "status", "offset", "parts", "code", "message", "result"),
        *("created_at", "started_at", "ended_at"),
    }
    assert (body["stream_id"], body["kind"], body["status"]) == (name, "text", "streaming")
    assert body["parts"] == ["Hello, world", {"type": "tool"}]
    assert body["ended_at"] is None
    assert body["created_at"] <= body["started_at"]
    after = await ask(routes, f"/{name}?offset={body['offset']}")
    assert after.heard.text == "!"
    rest = (await ask(routes, f"/{name}?format=json&offset={body['offset']}")).json
    assert rest["parts"] == ["!"]
    assert (rest["status"], rest["result"]) == ("done", 7)
    assert rest["offset"] == live.heard.last_id
    assert rest["offset"].endswith(".end")


async def test_the_etag_changes_with_the_snapshot(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create()
    gate = Gate()
    path = f"/{name}?format=json"
    tags = [(await ask(routes, path)).headers["etag"]]
    task = streams.start(name, gate)
    async with calling(routes, f"/{name}") as live:
        for item in ("a", "b"):
            gate.say(item)
            await live.until(lambda item=item: live.heard.text.endswith(item))
            call = await ask(routes, path)
            tags.append(call.headers["etag"])
            same = await ask(routes, path, headers={"if-none-match": f'"x", {tags[-1]}'})
            assert (same.status, same.body) == (304, b"")
            assert same.headers["etag"] == tags[-1]
            assert (await ask(routes, path, headers={"if-none-match": "*"})).status == 304
    gate.say(None)
    await task
    end = await ask(routes, path, headers={"if-none-match": tags[-1]})
    assert end.status == 200
    tags.append(end.headers["etag"])
    assert len(set(tags)) == len(tags)
    weak = await ask(routes, path, headers={"if-none-match": f"W/{tags[-1]}"})
    assert weak.status == 304


async def test_the_etag_changes_when_a_stopped_stream_gets_its_result(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G5: if the ETag stayed the same, a client would keep a snapshot without the result."""
    name = await streams.create()
    started, may_close = asyncio.Event(), asyncio.Event()

    async def answer() -> AsyncIterator[str | Result]:
        yield "so far"
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await may_close.wait()
            yield Result({"tokens": 12})

    streams.start(name, answer)
    await started.wait()
    await streams.cancel(name)
    path = f"/{name}?format=json"
    first = await ask(routes, path)
    assert json.loads(first.body)["result"] is None
    may_close.set()
    async with asyncio.timeout(10):
        while (body := await streams.read(name)).end == End(Status.CANCELLED):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert body.end == End(Status.CANCELLED, result={"tokens": 12})
    second = await ask(routes, path, headers={"if-none-match": first.headers["etag"]})
    assert second.status == 200
    assert json.loads(second.body)["result"] == {"tokens": 12}


async def test_text_is_only_the_text(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create()
    gate = Gate()
    streams.start(name, gate)
    async with calling(routes, f"/{name}", headers={"accept": "text/plain"}) as call:
        gate.say("a\r\n", {"not": "text"})
        await call.until(lambda: call.body)
        assert call.headers["content-type"] == "text/plain; charset=utf-8"
        assert call.body == b"a\r\n"
        assert not call.finished
        gate.say("é", None)
        await call.answered()
        assert call.body == "a\r\né".encode()
        assert call.finished


@pytest.mark.parametrize("how", ["error", "cancel", "delete", "drain"])
async def test_text_ends_cleanly_only_when_done(
    streams: PersistentTextStreaming, routes: StreamRoutes, how: str
) -> None:
    """G5: a text whose stream is not ``done`` does not look complete."""
    name = await streams.create()
    gate = Gate()
    streams.start(name, gate)
    async with calling(routes, f"/{name}?format=text") as call:
        gate.say("half")
        await call.until(lambda: call.body)
        if how == "error":
            gate.say(StreamError("Try later.", code="overloaded"))
        elif how == "cancel":
            await streams.cancel(name)
        elif how == "delete":
            await streams.delete(name)
        else:
            await streams.engine.drain(0)
        await call.answered()
    assert call.body == b"half"
    assert not call.finished


@pytest.mark.parametrize("how", ["delete", "drain a log"])
async def test_cut_events_have_no_terminal_event(
    streams: PersistentTextStreaming, routes: StreamRoutes, how: str
) -> None:
    """G5: a connection that the server cuts has no terminal event, so the client reconnects."""
    name = await streams.create(kind="log")
    await streams.post(name, "half")
    async with calling(routes, f"/{name}") as call:
        await call.text("half")
        if how == "delete":
            await streams.delete(name)
        else:
            await streams.engine.drain(0)
        await call.answered()
    assert call.heard.end is None


@pytest.mark.parametrize(
    ("accept", "query", "media_type"),
    [
        (None, "", "text/event-stream"),
        ("*/*", "", "text/event-stream"),
        ("text/event-stream", "", "text/event-stream"),
        ("application/json", "", "application/json"),
        ("text/plain", "", "text/plain"),
        ("text/html, application/json;q=0.9", "", "application/json"),
        ("text/plain, application/json", "", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "text/event-stream"),
        ("application/*", "", "application/json"),
        ("text/*", "", "text/event-stream"),
        ("application/json", "format=text", "text/plain"),
        ("image/png", "format=json", "application/json"),
        ("TEXT/PLAIN", "", "text/plain"),
        ("text/event-stream;q=0, application/json", "", "application/json"),
        ("text/event-stream;q=0, */*", "", "application/json"),
        ("text/event-stream; Q=0.000, text/plain;q=0.001", "", "text/plain"),
    ],
)
async def test_query_then_accept_choose_the_format(
    streams: PersistentTextStreaming,
    routes: StreamRoutes,
    accept: str | None,
    query: str,
    media_type: str,
) -> None:
    name = await ended(streams, "x")
    call = await ask(routes, f"/{name}?{query}", headers={"accept": accept} if accept else {})
    assert call.headers["content-type"].partition(";")[0] == media_type


@pytest.mark.parametrize(
    ("accept", "query"),
    [
        ("image/png", ""),
        ("*/*", "format=xml"),
        ("application/json;q=0", ""),
        ("*/*;q=0", ""),
        ("text/event-stream;q=0, text/plain;q=0.0, text/*", ""),
    ],
)
async def test_unknown_format_is_406(
    streams: PersistentTextStreaming, routes: StreamRoutes, accept: str, query: str
) -> None:
    name = await ended(streams, "x")
    call = await ask(routes, f"/{name}?{query}", headers={"accept": accept})
    assert (call.status, call.code) == (406, "not_acceptable")


@pytest.mark.usefixtures("absent_at_once")
async def test_the_application_may_fix_the_format_and_set_headers(
    streams: PersistentTextStreaming,
) -> None:
    name = await ended(streams, "x")
    request = Request(scope_of("GET", "/anything?format=events"))
    response = streams.response(request, name, format="json", headers={"x-own": "1"})
    response.set_cookie("seen", "yes")
    call = await ask(response, "/anything")
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-own"] == "1"
    assert "seen=yes" in call.headers["set-cookie"]
    missing = streams.response(request, "absent", headers={"x-own": "1"})
    refused = await ask(missing, "/anything")
    assert (refused.status, refused.headers["x-own"]) == (404, "1")


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 200), ("format=text", 200), ("format=json", 200), ("offset={end}", 204),
     ("format=json", 304), ("format=xml", 406), ("offset=bad", 400)],
)  # fmt: skip
async def test_every_cookie_arrives(
    streams: PersistentTextStreaming, query: str, status: int
) -> None:
    name = await ended(streams, "x")
    snapshot = await ask(streams.response(Request(scope_of("GET", "/?format=json")), name), "/")
    path = "/?" + query.format(end=snapshot.json["offset"])
    headers = {"if-none-match": snapshot.headers["etag"]} if status == 304 else {}
    response = streams.response(Request(scope_of("GET", path, headers=headers)), name)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    response.headers["cache-control"] = "private"
    call = await ask(response, path, headers=headers)
    assert call.status == status
    cookies = [value for key, value in call.messages[0]["headers"] if key == b"set-cookie"]
    assert [cookie[:5] for cookie in cookies] == [b"one=1", b"two=2"]
    assert call.headers["cache-control"] == ("no-store" if status >= 400 else "private")


@pytest.mark.usefixtures("absent_at_once")
@pytest.mark.parametrize("format_", ["events", "text", "json"])
async def test_head_has_the_headers_and_no_body(
    streams: PersistentTextStreaming, routes: StreamRoutes, format_: str
) -> None:
    name = await streams.create()  # this stream has not ended, and HEAD must not follow it
    call = await ask(routes, f"/{name}?format={format_}", method="HEAD")
    assert call.status == 200
    assert call.finished
    assert format_ == "json" or call.body == b""
    got = await streams.engine.readers.state(name)
    assert not got.ended
    assert (await ask(routes, "/absent", method="HEAD")).status == 404


async def test_events_from_now_begin_with_their_offset(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G2: with ``?offset=now``, the response begins with the offset of the log's tail.

    Without this offset, a client that reconnects before its first event would miss messages.
    """
    name = await streams.create(kind="log")
    offset = await streams.post(name, "before")
    async with calling(routes, f"/{name}?offset=now") as call:
        await call.until(lambda: call.body)
        assert call.body == f"retry: 1000\nid: {offset}\n: ping\n\n".encode()


@pytest.mark.parametrize(
    "name", ["lastEventId", "last-event-id", "last_event_id", "evs_last_event_id", "LASTEVENTID"]
)
async def test_polyfill_resumes_by_its_parameter(
    streams: PersistentTextStreaming, routes: StreamRoutes, name: str
) -> None:
    """G2: an EventSource polyfill that cannot set headers sends its last event id in the URL.

    This parameter overrides ``?offset=``, because ``?offset=`` still has its value from the first
    request.
    """
    stream_id = await ended(streams, "one ", {"n": 2}, "three")
    events = Parser().feed((await ask(routes, f"/{stream_id}")).body)
    answer = await ask(routes, f"/{stream_id}?offset=-1&{name}={events[1].id}&{name}2=x")
    assert Parser().feed(answer.body) == events[2:]
    assert (await ask(routes, f"/{stream_id}?{name}={events[-1].id}")).status == 204
    assert (await ask(routes, f"/{stream_id}?{name}=x")).status == 400
    assert Parser().feed((await ask(routes, f"/{stream_id}?{name}=")).body) == events


async def test_the_first_listed_offset_wins(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """If a request has several offsets, the server uses the first in the list of docs/http.md."""
    offset = (await streams.read(await streams.create("s"))).offset
    listed = ["lastEventId", "evs_last_event_id", "offset"]
    for number, name in enumerate(listed):
        query = [f"{name}={offset}", *(f"{other}=x" for other in listed[number + 1 :])]
        for given in (query, query[::-1]):
            path = f"/s?format=json&{'&'.join(given)}"
            assert (await ask(routes, path)).status == 200, path
    headers = {"last-event-id": offset}
    assert (await ask(routes, "/s?format=json&lastEventId=x", headers=headers)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_text_over_http_1_0_is_refused(
    streams: PersistentTextStreaming, routes: StreamRoutes, method: str
) -> None:
    """G5: the server refuses ``text`` over HTTP/1.0, because a broken text would look complete."""
    stream_id = await ended(streams, "half", StreamError("It failed."))
    for form, status in (("text", 406), ("events", 200), ("json", 200)):
        scope = scope_of(method, f"/{stream_id}?format={form}") | {"http_version": "1.0"}
        call = Call(routes, scope)
        assert (await call.answered()).status == status
        if status == 406:
            assert b"proxy_http_version 1.1" in call.body
