"""If requests come at the same moment, each request takes effect once, or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream._errors import StoreUnavailable
from inkstream._types import StreamState
from inkstream.wire import Offset
from tests.conftest import Rounds
from tests.durable.mount import JSON, TEXT, client_of, producing


async def test_many_appends_to_one_stream_share_commits(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: fewer than 20 commits store each of 200 concurrent appends once."""
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
        after = Offset.parse(answer.headers["stream-next-offset"]).position
        assert stored[after - 1] == i if i < 100 else stored[after - 2 : after] == [i, 0]
    assert commits < 20


async def test_a_single_append_reads_its_stream_once(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the append read its stream again after the permission check, its cost would double."""
    await client.put("/s", headers=JSON)
    store, reads = streams.engine.store, 0
    read = store.read

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*arguments, **more)

    monkeypatch.setattr(store, "read", counted)
    answer = await client.post("/s", headers=JSON | producing(0), content=b"1")
    assert (answer.status_code, reads) == (200, 1)


async def test_an_append_is_not_refused_by_an_old_page(
    streams: PersistentTextStreaming,
) -> None:
    """G2: an append succeeds although the stream changed during the append's permission check."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        if request.headers.get("producer-seq") == "1":
            asked.set()
            await go.wait()
        return True

    async with client_of(streams.durable_streams(authorize=authorize)) as client:
        await client.put("/s", headers=JSON)
        second = asyncio.create_task(client.post("/s", headers=JSON | producing(1), content=b"2"))
        await asked.wait()
        first = await client.post("/s", headers=JSON | producing(0), content=b"1")
        assert (await client.get("/s")).json() == [1]
        go.set()
        assert (first.status_code, (await second).status_code) == (200, 200)
        assert (await client.get("/s")).json() == [1, 2]


async def test_concurrent_duplicates_are_stored_once(client: httpx.AsyncClient) -> None:
    await client.put("/s", headers=JSON)
    answers = await asyncio.gather(
        *[client.post("/s", headers=JSON | producing(0), content=b"1") for _ in range(20)]
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 204: 19}
    assert (await client.get("/s")).json() == [1]


async def test_a_duplicate_waits_until_the_first_is_durable(
    streams: PersistentTextStreaming, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: a duplicate is confirmed only after the append is stored.

    If the first append fails, the next duplicate is stored in its place.
    """
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
async def test_a_producer_on_two_workers_is_stored_once(
    streams: PersistentTextStreaming, database: str, rounds: Rounds
) -> None:
    """G2, G3: if two workers get the same appends of a producer, each append is stored once."""
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
    """G5: of ten concurrent appends that also close the stream, exactly one succeeds."""
    await client.put("/s", headers=JSON)
    closing = JSON | {"stream-closed": "true"}
    answers = await asyncio.gather(
        *[client.post("/s", headers=closing, content=b"%d" % i) for i in range(10)]
    )
    assert Counter(answer.status_code for answer in answers) == {204: 1, 409: 9}
    assert all(answer.headers["stream-closed"] == "true" for answer in answers)
    assert len((await client.get("/s")).json()) == 1


@pytest.mark.timeout(120)
async def test_forks_while_their_source_ends(client: httpx.AsyncClient, rounds: Rounds) -> None:
    """If a stream is deleted while it is forked, each fork is complete or absent."""
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


async def test_a_read_crosses_the_fork_point(client: httpx.AsyncClient) -> None:
    await client.put("/a", headers=JSON, content=b"[1,2]")
    await client.put("/b", headers={"stream-forked-from": "/a"}, content=b"3")
    await client.put("/c", headers={"stream-forked-from": "/b"}, content=b"[4]")
    await client.post("/a", headers=JSON, content=b"9")
    answer = await client.get("/c")
    assert answer.json() == [1, 2, 3, 4]
    assert answer.headers["stream-up-to-date"] == "true"


async def test_concurrent_creates_of_one_stream(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*[client.put("/s", headers=TEXT) for _ in range(10)])
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9}


async def test_a_shutdown_during_a_commit_is_uncertain(
    streams: PersistentTextStreaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: if the mount stops during a commit, the outcome of an append in this commit is unknown.

    An append that still waits for a commit is not stored.
    """
    mount = streams.durable_streams(allow_anonymous=True)
    committing, go_on = asyncio.Event(), asyncio.Event()
    store = streams.engine.store
    commit = store.commit

    async def late(*arguments: Any, **more: Any) -> Any:
        committing.set()
        await go_on.wait()
        return await commit(*arguments, **more)

    async with client_of(mount) as client:
        await client.put("/s", headers=TEXT)
        monkeypatch.setattr(store, "commit", late)
        first = asyncio.create_task(client.post("/s", headers=TEXT, content=b"x"))
        await committing.wait()
        second = asyncio.create_task(client.post("/s", headers=TEXT, content=b"y"))
        assert mount._for is not None
        (waiting,) = mount._for[1]._waiting.values()
        while not waiting:  # noqa: ASYNC110 - the mount has no event for this
            await asyncio.sleep(0.001)
        (running,) = [task for task in streams.engine.life._tasks if "Appends._run" in repr(task)]
        running.cancel()
        answers = await asyncio.gather(first, second)
        found = [(answer.json()["code"], "retry-after" in answer.headers) for answer in answers]
        assert found == [("outcome_unknown", False), ("store_unavailable", True)]
    go_on.set()
