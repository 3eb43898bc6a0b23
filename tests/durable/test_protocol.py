"""What the official suite does not see: exactness, races, rights and limits, on a running engine.

Requests whose answers do not stream go straight into the app; those that do, over real sockets in
``test_server.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from inkstream import Limits, PersistentTextStreaming
from inkstream._errors import StoreUnavailable
from inkstream._types import NewStream, StreamState
from inkstream.http.durable.app import DurableStreams
from inkstream.http.durable.settings import DurableSettings
from inkstream.stores import sqlite as _sqlite  # noqa: F401 - reads its SQL before any loop runs
from inkstream.wire import Offset
from tests import postgres_server
from tests.conftest import Rounds
from tests.http.asgi import ShiftedClock, scope_of

JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "memory":
        yield "memory://"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'streams.db'}"
    else:
        server = postgres_server.server(postgres_server.versions()[0])
        url = await server.make_database()
        yield url
        await server.drop_database(url)


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def streams(database: str, clock: ShiftedClock) -> AsyncIterator[PersistentTextStreaming]:
    async with PersistentTextStreaming(database, clock=clock) as instance:
        yield instance


@asynccontextmanager
async def client_of(app: DurableStreams) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://durable.example") as client:
        yield client


@pytest.fixture
async def client(streams: PersistentTextStreaming) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(streams.durable_streams(allow_anonymous=True)) as made:
        yield made


def producing(seq: int, name: str = "p", epoch: int = 0) -> dict[str, str]:
    return {"producer-id": name, "producer-epoch": str(epoch), "producer-seq": str(seq)}


# Exactness ---------------------------------------------------------------------------------------

EXACT = [
    b'"\\u0000"',
    b'"\\r\\n \\r"',
    b'"\\ud800"',
    b'{"a":1,"a":2}',
    b"1.0",
    b"-0",
    b"1E400",
    b"123456789012345678901234567890",
    b"9" * 5000,
    b"[[1 , 2],\n[]]",
    '"\U0001f600 ä"'.encode(),
]


async def test_json_comes_back_byte_for_byte(client: httpx.AsyncClient) -> None:
    """G11."""
    await client.put("/s", headers=JSON)
    for message in EXACT:
        body = b"[" + message + b"]"
        assert (await client.post("/s", headers=JSON, content=body)).status_code == 204
    assert (await client.get("/s")).content == b"[" + b",".join(EXACT) + b"]"
    await client.put("/batch", headers=JSON, content=b"[" + b" , ".join(EXACT) + b"]")
    assert (await client.get("/batch")).content == b"[" + b",".join(EXACT) + b"]"


@pytest.mark.parametrize("body", [b"NaN", b"[1,NaN]", b"[" * 5000, b"\xff", b'{"inkstream:end":1}'])
async def test_what_is_refused_leaves_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    await client.put("/s", headers=JSON)
    answer = await client.post("/s", headers=JSON | producing(0), content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_message")
    assert (await client.get("/s")).content == b"[]"
    # The producer may send the same number again, with something better.
    good = await client.post("/s", headers=JSON | producing(0), content=b"1")
    assert good.status_code == 200


async def test_bytes_are_bytes(client: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * 3
    await client.put("/b", content=data[:300])
    await client.post(
        "/b", headers={"content-type": "application/octet-stream"}, content=data[300:]
    )
    first = await client.get("/b")
    assert first.content == data
    middle = str(Offset(int(first.headers["stream-next-offset"][:16]), 299))
    assert (await client.get("/b", params={"offset": middle})).content == data[299:]


async def test_ids_keep_slashes_and_everything_else(client: httpx.AsyncClient) -> None:
    for path in ("/a/b", "/a%20b/%C3%A4", "/%252F"):
        created = await client.put(path, headers=TEXT, content=path.encode())
        assert (created.status_code, created.headers["location"]) == (
            201,
            f"http://durable.example{path}",
        )
    for path in ("/a/b", "/a%20b/%C3%A4", "/%252F"):
        assert (await client.get(path)).content == path.encode()
    assert (await client.get("/a%2Fb")).content == b"/a/b"
    for path in ("/", "/%FF", "/a/%2E%2E/b", "/" + "x" * 513):
        assert (await client.put(path, headers=TEXT)).status_code == 404


@pytest.mark.parametrize("path", ["/__ds", "/__ds/subscriptions/1", "/s/__ds/x", "/%5F_ds/x"])
async def test_subscriptions_are_refused_in_so_many_words(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.put(path, headers=JSON, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (501, "subscriptions_not_supported")


# Races -------------------------------------------------------------------------------------------


async def test_appends_of_many_to_one_stream_ride_in_few_commits(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: each once, conditional or not, at the offset that it was told."""
    await client.put("/s", headers=JSON)
    store, commits = streams.engine.store, 0
    commit = store.commit

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal commits
        commits += 1
        return await commit(*arguments, **more)

    monkeypatch.setattr(store, "commit", counted)
    plain = [client.post("/s", headers=JSON, content=b"%d" % i) for i in range(100)]
    conditional = [
        client.post("/s", headers=JSON | producing(0, f"p{i}"), content=b"[%d,0]" % i)
        for i in range(100, 200)
    ]
    answers = await asyncio.gather(*plain, *conditional)
    assert Counter(answer.status_code for answer in answers) == {204: 100, 200: 100}
    stored = (await client.get("/s")).json()
    assert sorted(stored) == sorted([*range(200), *[0] * 100])
    for i, answer in enumerate(answers):
        after = int(answer.headers["stream-next-offset"][-16:])
        assert stored[after - 1] == i if i < 100 else stored[after - 2 : after] == [i, 0]
    assert commits < 20


async def test_the_same_append_many_times_at_once_is_stored_once(client: httpx.AsyncClient) -> None:
    await client.put("/s", headers=JSON)
    answers = await asyncio.gather(
        *[client.post("/s", headers=JSON | producing(0), content=b"1") for _ in range(20)]
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 204: 19}
    assert (await client.get("/s")).json() == [1]


async def test_a_duplicate_is_not_told_before_the_first_is_durable(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: were it, and the commit then failed, the producer would go on without its text."""
    await client.put("/s", headers=JSON)
    store = streams.engine.store
    commit = store.commit

    async def failing(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(store, "commit", commit)
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "commit", failing)
    answers = await asyncio.gather(
        *[client.post("/s", headers=JSON | producing(0), content=b"1") for _ in range(3)]
    )
    assert Counter(answer.status_code for answer in answers) == {503: 1, 200: 1, 204: 1}
    assert (await client.get("/s")).json() == [1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)
async def test_a_producer_that_reaches_two_workers_at_once_is_stored_once(
    streams: PersistentTextStreaming, database: str, rounds: Rounds
) -> None:
    """G2, G3: the store decides, whatever each worker foresaw."""
    async with (
        PersistentTextStreaming(database) as others,
        client_of(streams.durable_streams(allow_anonymous=True)) as one,
        client_of(others.durable_streams(allow_anonymous=True)) as two,
    ):
        await one.put("/s", headers=JSON)
        turns = rounds(40, 1000)
        for seq in turns:
            answers = await asyncio.gather(
                *[
                    client.post(
                        "/s", headers=JSON | producing(seq, name), content=f'"{name}{seq}"'.encode()
                    )
                    for client in (one, two)
                    for name in ("p", "q")
                    for _ in range(2)
                ]
            )
            codes = Counter(answer.status_code for answer in answers)
            assert codes == {200: 2, 204: 6}
        stored = (await two.get("/s")).json()
    for name in ("p", "q"):
        assert [m for m in stored if m[0] == name] == [f"{name}{seq}" for seq in turns]


async def test_one_of_many_that_close_appends(client: httpx.AsyncClient) -> None:
    """G5."""
    await client.put("/s", headers=JSON)
    closing = JSON | {"stream-closed": "true"}
    answers = await asyncio.gather(
        *[client.post("/s", headers=closing, content=b"%d" % i) for i in range(10)]
    )
    assert Counter(answer.status_code for answer in answers) == {204: 1, 409: 9}
    assert all(answer.headers["stream-closed"] == "true" for answer in answers)
    assert len((await client.get("/s")).json()) == 1


@pytest.mark.timeout(120)
async def test_forks_and_the_end_of_their_source_at_once(
    client: httpx.AsyncClient, rounds: Rounds
) -> None:
    """A fork exists with all it inherits, or not at all."""
    for i in rounds(15, 300):
        await client.put(f"/src{i}", headers=TEXT, content=b"inherited")
        forks = [
            client.put(f"/fork{i}-{n}", headers={"stream-forked-from": f"/src{i}"})
            for n in range(3)
        ]
        *made, deleted = await asyncio.gather(*forks, client.delete(f"/src{i}"))
        assert deleted.status_code == 204
        there = [n for n, answer in enumerate(made) if answer.status_code == 201]
        assert {answer.status_code for answer in made} <= {201, 404, 409}
        assert (await client.get(f"/src{i}")).status_code == (410 if there else 404)
        for n in there:
            assert (await client.get(f"/fork{i}-{n}")).content == b"inherited"
            assert (await client.delete(f"/fork{i}-{n}")).status_code == 204
        assert (await client.get(f"/src{i}")).status_code == 404


async def test_a_read_does_not_show_where_a_fork_left_its_source(client: httpx.AsyncClient) -> None:
    await client.put("/a", headers=JSON, content=b"[1,2]")
    await client.put("/b", headers={"stream-forked-from": "/a"}, content=b"3")
    await client.put("/c", headers={"stream-forked-from": "/b"}, content=b"[4]")
    await client.post("/a", headers=JSON, content=b"9")
    answer = await client.get("/c")
    assert answer.json() == [1, 2, 3, 4]
    assert answer.headers["stream-up-to-date"] == "true"


async def test_many_that_create_the_same(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*[client.put("/s", headers=TEXT) for _ in range(10)])
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9}


# Offsets and lifetimes ---------------------------------------------------------------------------


async def test_an_offset_of_an_earlier_stream_is_told_at_once(client: httpx.AsyncClient) -> None:
    """G10, in every way of reading."""
    old = (await client.put("/s", headers=TEXT, content=b"old")).headers["stream-next-offset"]
    await client.delete("/s")
    now = (await client.put("/s", headers=TEXT, content=b"new one")).headers["stream-next-offset"]
    past = str(Offset(int(now[:16]), 99))
    for offset in (old, past):
        for live in ({}, {"live": "long-poll"}, {"live": "sse"}):
            answer = await client.get("/s", params={"offset": offset, **live})
            assert (answer.status_code, answer.json()["code"]) == (410, "offset_gone")


async def test_what_expired_is_gone_at_once_and_makes_room(
    client: httpx.AsyncClient, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now)
    await client.put("/s", headers=TEXT | {"stream-ttl": "100"}, content=b"old")
    now += 90
    assert (await client.get("/s")).status_code == 200  # which puts it off
    now += 90
    assert (await client.head("/s")).status_code == 200  # which does not
    now += 20
    for method in ("GET", "HEAD", "DELETE", "POST"):
        body: dict[str, Any] = {"headers": TEXT, "content": b"x"} if method == "POST" else {}
        assert (await client.request(method, "/s", **body)).status_code == 404, method
    answer = await client.put("/s", headers=JSON)
    assert answer.status_code == 201
    assert (await client.get("/s")).content == b"[]"


# Texts -------------------------------------------------------------------------------------------


async def test_a_text_is_seen_as_strings_objects_and_in_the_end_how_it_ended(
    streams: PersistentTextStreaming, client: httpx.AsyncClient
) -> None:
    """G5: the last message, at the offset after the end, on a closed stream alone."""
    stream_id = await streams.create("chat/1")
    async with streams.write(stream_id) as writer:
        await writer.append("Hello\r\n")
        await writer.append({"tool": "search"})
        await writer.flush()
        live = await client.get("/chat/1")
        assert live.json() == ["Hello\r\n", {"tool": "search"}]
        assert live.headers["inkstream-status"] == "streaming"
        assert "stream-closed" not in live.headers
        for method in ("POST", "DELETE"):
            answer = await client.request(method, "/chat/1", headers=JSON, content=b"1")
            assert (answer.status_code, answer.json()["code"]) == (409, "writer_owned")
        await writer.append(" world")
    done = await client.get("/chat/1")
    end = {"status": "done", "code": None, "message": None, "result": None}
    assert done.json() == ["Hello\r\n", {"tool": "search"}, " world", {"inkstream:end": end}]
    assert (done.headers["stream-closed"], done.headers["inkstream-status"]) == ("true", "done")
    assert done.headers["etag"] != live.headers["etag"]
    offset = done.headers["stream-next-offset"]
    assert offset == (await client.head("/chat/1")).headers["stream-next-offset"]
    assert offset > live.headers["stream-next-offset"]
    rest = await client.get("/chat/1", params={"offset": live.headers["stream-next-offset"]})
    assert rest.json() == [" world", {"inkstream:end": end}]
    after = await client.get("/chat/1", params={"offset": offset})
    assert (after.json(), after.headers["stream-closed"]) == ([], "true")
    polled = await client.get("/chat/1", params={"offset": offset, "live": "long-poll"})
    assert (polled.status_code, polled.headers["stream-closed"]) == (204, "true")

    forked = await client.put("/fork", headers={"stream-forked-from": "/chat/1"})
    assert forked.status_code == 201
    assert (await client.get("/fork")).json() == ["Hello\r\n", {"tool": "search"}, " world"]
    assert (await client.post("/fork", headers=JSON, content=b"1")).status_code == 204


async def test_no_writer_may_say_how_its_text_ended(streams: PersistentTextStreaming) -> None:
    stream_id = await streams.create()
    async with streams.write(stream_id) as writer:
        with pytest.raises(ValueError, match="reserved"):
            await writer.append({"inkstream:end": {"status": "done"}})


# Rights ------------------------------------------------------------------------------------------


def test_nobody_mounts_it_without_saying_who_may_come() -> None:
    with pytest.raises(TypeError, match="authorize"):
        PersistentTextStreaming("memory://").durable_streams()


async def test_what_is_denied_looks_absent(streams: PersistentTextStreaming) -> None:
    allowed: set[str] = set()
    asked: list[str] = []

    async def authorize(request: Request, stream: StreamState | NewStream, action: str) -> bool:
        asked.append(f"{action} {stream.stream_id}")
        return f"{action} {stream.stream_id}" in allowed

    async with client_of(streams.durable_streams(authorize=authorize)) as client:

        async def ask(method: str, path: str, *rights: str, **more: Any) -> int:
            allowed.clear()
            allowed.update(rights)
            return (await client.request(method, path, **more)).status_code

        text: dict[str, Any] = {"headers": TEXT, "content": b"x"}
        closing: dict[str, Any] = {"headers": TEXT | {"stream-closed": "true"}}
        fork = {"headers": {"stream-forked-from": "/s"}}
        assert await ask("PUT", "/s", **text) == 403
        assert await ask("PUT", "/s", "create s", **text) == 201
        for method in ("GET", "HEAD"):
            assert await ask(method, "/s", "append s", "create s") == 404
            assert await ask(method, "/s", "read s") == 200
        assert await ask("POST", "/s", "read s", "close s", **text) == 404
        assert await ask("POST", "/s", "append s", **text) == 204
        assert await ask("POST", "/s", "append s", content=b"x", **closing) == 404
        assert await ask("PUT", "/f", "create f", **fork) == 404
        assert await ask("PUT", "/f", "read s", **fork) == 403
        assert await ask("PUT", "/f", "create f", "read s", **fork) == 201
        assert await ask("POST", "/s", "close s", **closing) == 204
        assert await ask("DELETE", "/s", "read s", "append s", "close s", "create s") == 404
        assert await ask("DELETE", "/s", "delete s") == 204
        # Nothing is told of a stream, not even that it is closed, before the rights are known.
        assert {entry.split()[0] for entry in asked} == {
            *("create", "read", "append", "close", "delete")
        }


async def test_another_site_may_not_write_with_this_sites_cookie(client: httpx.AsyncClient) -> None:
    forged = {"cookie": "session=1", "sec-fetch-site": "cross-site"}
    answer = await client.post("/s", headers=TEXT | forged, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


# Limits ------------------------------------------------------------------------------------------


async def test_who_polls_a_closed_stream_in_a_hot_loop_is_slowed(
    streams: PersistentTextStreaming, clock: ShiftedClock
) -> None:
    """G9; stock clients do that."""
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
    """G9; it holds for those who come together, and takes no other append with it."""
    limits = Limits(marks_per_stream=5)
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


async def test_only_so_much_is_taken_in(streams: PersistentTextStreaming) -> None:
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
    """Make a request past any client that would refuse to; return the status."""
    statuses: list[int] = []
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()  # a client that stays
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
        *("9999999999999999_9999999999999999", "0000000000000000_0000000000000000", "100-continue"),
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
async def test_no_request_makes_it_fail(
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
