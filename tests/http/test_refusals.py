from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import quote

import pytest
from starlette.requests import Request

from inkstream import (
    NotRunning,
    OutcomeUnknown,
    PersistentTextStreaming,
    ShuttingDown,
    StoreUnavailable,
    StreamId,
    problem_handler,
)
from inkstream._types import StreamState
from inkstream.http.routes import StreamRoutes
from inkstream.wire import Offset
from tests.http.asgi import Call, Gate, ShiftedClock, ask, calling, scope_of
from tests.http.test_formats import ended


@pytest.mark.parametrize(
    "offset",
    [
        "x",
        "1",
        "7_3",
        "0000000001_000000002_AAAA_",
        "٠" * 10 + "_" + "0" * 9 + "_AAAA",
        "NOW",
        "-2",
        "0000000000_000000001_AAAA",
    ],
)
@pytest.mark.parametrize("format_", ["events", "json", "text"])
async def test_a_malformed_offset_is_400_whether_the_stream_is_there_or_not(
    streams: PersistentTextStreaming, routes: StreamRoutes, offset: str, format_: str
) -> None:
    """G10: a malformed offset gets 400 ``invalid_offset``, whether or not the stream exists."""
    name = await streams.create()
    for path in (name, "absent"):
        call = await ask(routes, f"/{path}?format={format_}&offset={quote(offset)}")
        assert (call.status, call.code) == (400, "invalid_offset")


@pytest.mark.parametrize("format_", ["events", "json", "text"])
async def test_a_foreign_offset_is_refused_immediately(
    streams: PersistentTextStreaming, routes: StreamRoutes, format_: str
) -> None:
    """G10: the server immediately refuses an offset of an earlier stream with the same id."""
    await ended(streams, "first life", stream_id="twice")
    old = (await ask(routes, "/twice")).heard.ids
    await streams.delete("twice")
    await streams.create("twice")
    for offset in old:
        call = await ask(routes, f"/twice?format={format_}&offset={offset}")
        assert (call.status, call.code) == (410, "offset_gone"), offset


@pytest.mark.parametrize("format_", ["events", "json", "text"])
async def test_an_offset_past_the_tail_is_refused_immediately(
    streams: PersistentTextStreaming, routes: StreamRoutes, format_: str
) -> None:
    """G10: the server refuses an offset past the tail at once, on a live and on an ended stream."""
    gate = Gate()
    live = await streams.create()
    streams.start(live, gate)
    async with calling(routes, f"/{live}") as call:
        gate.say("so far")
        await call.text("so far")
        for name in (live, await ended(streams, "so far")):
            body = await streams.read(name)
            last = replace(Offset.parse(body.offset), ended=False)
            assert (await ask(routes, f"/{name}?format=json&offset={last}")).status == 200
            for more in (1, 10**6):
                past = replace(last, position=last.position + more)
                for offset in (past, replace(past, ended=True)):
                    async with asyncio.timeout(1):
                        refused = await ask(routes, f"/{name}?format={format_}&offset={offset}")
                    assert (refused.status, refused.code) == (410, "offset_gone"), offset


async def test_an_absent_id_is_found_after_its_commit(
    streams: PersistentTextStreaming, routes: StreamRoutes, clock: ShiftedClock
) -> None:
    for path in ("/soon", "/later?format=json"):
        name = path[1:].partition("?")[0]
        async with calling(routes, path) as call:
            reads = _reads(streams, name)
            await reads(2)
            assert not call.messages
            await streams.create(name)
            await call.started()
            assert call.status == 200
    async with calling(routes, "/never") as call:
        await _reads(streams, "never")(2)
        clock.ahead_s += 1.0
        await call.answered()
        assert (call.status, call.code) == (404, "not_found")


def _reads(streams: PersistentTextStreaming, name: str) -> Callable[[int], Awaitable[None]]:
    """Return a function that waits until the store has read ``name`` a given number of times."""
    store = streams.engine.store
    read = store.read
    count = 0
    news = asyncio.Condition()

    async def counted(stream_id: StreamId, *args: object, **kwargs: object) -> object:
        nonlocal count
        if stream_id == name:
            count += 1
            async with news:
                news.notify_all()
        return await read(stream_id, *args, **kwargs)  # type: ignore[arg-type]

    store.read = counted  # type: ignore[assignment,method-assign]

    async def wait(number: int) -> None:
        async with asyncio.timeout(5), news:
            await news.wait_for(lambda: count >= number)

    return wait


async def test_a_denied_stream_equals_an_absent_one_in_time_too(
    streams: PersistentTextStreaming,
) -> None:
    asked: list[tuple[str, str]] = []

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        asked.append((stream.stream_id, action))
        return False

    routes = streams.asgi(authorize=authorize)
    pairs = {}
    for name in ("theirs", "absent"):
        for path in (name, f"{name}?format=json", f"{name}?format=text", f"{name}?offset=-1"):
            pairs[path] = ask(routes, f"/{path}")
        pairs[f"HEAD {name}"] = ask(routes, f"/{name}", method="HEAD")
    await streams.create("theirs", owner="somebody")

    async def timed(call: Awaitable[Call]) -> tuple[float, Call]:
        began = time.monotonic()
        answer = await call
        return time.monotonic() - began, answer

    timings = await asyncio.gather(*[timed(call) for call in pairs.values()])
    answers = dict(zip(pairs, timings, strict=True))
    for path, (seconds, call) in answers.items():
        assert (call.status, call.code) == (404, "not_found"), path
        assert 0.95 < seconds < 1.6, path
    for path, (_, call) in answers.items():
        twin = answers[path.replace("theirs", "absent")][1]
        assert call.body.replace(b"theirs", b"absent") == twin.body
        theirs, absent = dict(call.headers), dict(twin.headers)
        assert theirs.pop("content-length", None) == absent.pop("content-length", None)
        asked_for = [headers.pop("stream-id") for headers in (theirs, absent)]
        assert [name.replace("theirs", "absent") for name in asked_for] == ["absent"] * 2
        assert theirs == absent
    cancels = [await ask(routes, f"/{n}/cancel", method="POST") for n in ("theirs", "absent")]
    assert [c.status for c in cancels] == [404, 404]
    assert cancels[0].body.replace(b"theirs", b"absent") == cancels[1].body
    assert ("theirs", "read") in asked
    assert ("theirs", "cancel") in asked
    assert not (await streams.read("theirs")).status.ended


async def test_authorize_sees_the_request_and_decides_by_action(
    streams: PersistentTextStreaming,
) -> None:
    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        return request.headers.get("x-user") == stream.owner and action == "read"

    routes = streams.asgi(authorize=authorize)
    name = await streams.create(owner="ann")
    async with calling(routes, f"/{name}", headers={"x-user": "ann"}) as call:
        await call.started()
        assert call.status == 200
    denied = await ask(routes, f"/{name}/cancel", method="POST", headers={"x-user": "ann"})
    assert denied.status == 404
    assert not (await streams.read(name)).status.ended


def test_routes_need_authorize() -> None:
    streams = PersistentTextStreaming("memory://")
    for make in (streams.asgi, streams.router):
        with pytest.raises(TypeError, match=r"authorize=.*allow_anonymous=True"):
            make()


@pytest.mark.usefixtures("absent_at_once")
@pytest.mark.parametrize("field", ["owner", "group"])
async def test_a_stream_of_another_owner_or_group_is_absent(
    streams: PersistentTextStreaming, clock: ShiftedClock, field: str
) -> None:
    name = await streams.create(owner="ann", group="chat")
    request = Request(scope_of("GET", "/"))
    mine = {"owner": "ann", "group": "chat"}[field]
    right = streams.response(request, name, **{field: mine})  # type: ignore[arg-type]
    async with calling(right, "/") as call:
        await call.started()
        assert call.status == 200
    wrong = streams.response(request, name, **{field: "other"})  # type: ignore[arg-type]
    assert (await ask(wrong, "/")).status == 404
    gate = Gate()
    drive = streams.stream(request, name, gate, **{field: "other"})  # type: ignore[arg-type]
    assert (await ask(drive, "/")).status == 404
    assert gate.calls == 0
    assert (await streams.read(name)).status == "pending"


@pytest.mark.parametrize(
    "path", ["/", "/%00", "/%ff", "/a/b", "/a/cancel/b", "//", "/" + "x" * 513]
)
async def test_unknown_routes_and_ids_are_404(routes: StreamRoutes, path: str) -> None:
    call = await ask(routes, path)
    assert (call.status, call.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/x", "GET, HEAD"), ("DELETE", "/x", "GET, HEAD"), ("GET", "/x/cancel", "POST")],
)
async def test_another_method_is_405(
    routes: StreamRoutes, method: str, path: str, allow: str
) -> None:
    call = await ask(routes, path, method=method)
    assert (call.status, call.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "ü/ß", "a b", "100%", "x?y", "...", "a/cancel"])
@pytest.mark.parametrize("root_path", ["", "/streams", "/chats/a b/streams"])
async def test_any_id_survives_a_mount(
    streams: PersistentTextStreaming, routes: StreamRoutes, name: str, root_path: str
) -> None:
    await ended(streams, f"text of {name}", stream_id=name)
    path = quote(root_path) + "/" + quote(name, safe="")
    call = await ask(routes, path, root_path=root_path)
    assert call.heard.text == f"text of {name}"
    cancel = await ask(routes, path + "/cancel", method="POST", root_path=root_path)
    assert cancel.status == 204


async def test_too_many_readers_is_429_with_retry_after(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G9: a reader above the limit gets 429 and a ``Retry-After``."""
    name = await streams.create()
    async with calling(routes, f"/{name}") as first:
        await first.started()
        others = [Call(routes, scope_of("GET", f"/{name}")) for _ in range(4)]
        for other in others:
            await other.started()
        refused = await ask(routes, f"/{name}")
        assert (refused.status, refused.code) == (429, "too_many_readers")
        assert int(refused.headers["retry-after"]) >= 1
        for other in others:
            other.disconnect()
            await other.answered()
        async with calling(routes, f"/{name}") as again:
            await again.started()
            assert again.status == 200


async def test_an_unavailable_database_is_503_and_not_named(
    streams: PersistentTextStreaming,
    routes: StreamRoutes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G12: the client gets 503 without the reason, and the log names the reason."""

    async def away(*args: object, **kwargs: object) -> object:
        raise StoreUnavailable("could not connect to db.internal:5432")

    monkeypatch.setattr(streams.engine.store, "read", away)
    for call in (await ask(routes, "/x"), await ask(routes, "/x/cancel", method="POST")):
        assert (call.status, call.code) == (503, "store_unavailable")
        assert int(call.headers["retry-after"]) >= 1
        assert b"internal" not in call.body
    assert caplog.text.count("could not connect to db.internal:5432") == 2


async def test_an_unknown_outcome_has_a_code_of_its_own(
    streams: PersistentTextStreaming, routes: StreamRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: if the server does not know whether the store kept a change, the response says so."""
    stream_id = await streams.create()

    async def lost(*args: object, **kwargs: object) -> object:
        raise OutcomeUnknown("the connection was lost during a commit")

    monkeypatch.setattr(streams.engine.store, "commit", lost)
    call = await ask(routes, f"/{stream_id}/cancel", method="POST")
    assert (call.status, call.code) == (503, "outcome_unknown")
    assert b"may have been stored" in call.body
    assert "retry-after" not in call.headers, "some clients repeat a POST because of this header"


async def test_a_server_error_is_500_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the instance has not started, ``problem_handler`` answers 500."""
    request = Request(scope_of("GET", "/"))
    with pytest.raises(NotRunning) as caught:
        PersistentTextStreaming("memory://").response(request, "x")
    answer = await problem_handler(request, caught.value)
    assert answer.status_code == 500
    assert "lifespan=streams.lifespan" in caplog.text


async def test_a_draining_server_refuses_new_requests(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G8: a server that drains refuses new requests with 503.

    Otherwise a new client could keep the server open for ever.
    """
    name = await streams.create()
    await streams.engine.drain(0)
    refused = await ask(routes, f"/{name}")
    assert (refused.status, refused.code) == (503, "shutting_down")
    assert int(refused.headers["retry-after"]) >= 1
    gate = Gate()
    request = Request(scope_of("POST", "/"))
    refused = await ask(streams.stream(request, name, gate), "/", method="POST")
    assert (refused.status, refused.code) == (503, "shutting_down")
    with pytest.raises(ShuttingDown):
        streams.start(name, gate)
    assert gate.calls == 0


async def test_cancel_may_be_repeated(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    name = await streams.create()
    gate = Gate()
    streams.start(name, gate)
    async with calling(routes, f"/{name}") as call:
        gate.say("half")
        await call.text("half")
        for _ in range(2):
            answer = await ask(routes, f"/{name}/cancel", method="POST")
            assert (answer.status, answer.body) == (204, b"")
        await call.answered()
        assert call.heard.end is not None
        assert call.heard.end["status"] == "cancelled"
    async with asyncio.timeout(1):
        await gate.closed.wait()
    log = await streams.create(kind="log")
    assert (await ask(routes, f"/{log}/cancel", method="POST")).status == 409
