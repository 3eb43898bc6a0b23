"""After a real fault, `inkstream show` starts in a new process, and says why an answer is stuck."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from inkstream import PersistentTextStreaming
from tests import postgres_server
from tests.crash.asking import run_show, show, shown_until
from tests.http.servers import Server, serving
from tests.proxy import proxy_before

APP = "tests.crash.why_app:app"


@pytest.fixture
async def server(tmp_path: Path, database: str) -> AsyncIterator[Server]:
    running = serving(tmp_path, app=APP, environment={"INKSTREAM_DATABASE": database})
    try:
        yield await asyncio.to_thread(running.__enter__)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def started(client: httpx.AsyncClient, name: str) -> int:
    """Start a stream with one piece. Return the process id of its writer."""
    answer = await client.post(f"/create?id={name}&start=1")
    await client.post(f"/say/{name}", json=["so far "])
    async with client.stream("GET", f"/live/{name}") as response:
        async for line in response.aiter_lines():
            if line.startswith("data:"):  # the piece is stored, and therefore the claim too
                break
    pid: int = answer.json()["pid"]
    return pid


@pytest.mark.timeout(90)
async def test_the_model_is_silent(client: httpx.AsyncClient, database: str) -> None:
    pid = await started(client, "silent")
    shown = await shown_until(database, "silent", "source_silent")
    assert (shown["worker"]["pid"], shown["worker"]["alive"]) == (pid, True)
    assert shown["worker"]["host"] == socket.gethostname()
    assert 10 <= shown["silent_s"] < 40


@pytest.mark.timeout(90)
async def test_the_loop_is_blocked(client: httpx.AsyncClient, database: str) -> None:
    pid = await started(client, "blocked")
    # The worker must beat before the fault. Otherwise no beat would be late.
    await asyncio.sleep(1.5)
    blocking = asyncio.create_task(client.post("/block?s=8"))
    during = await shown_until(database, "blocked", "beat_late", "loop_blocked")
    assert during["worker"]["pid"] == pid
    assert not blocking.done(), "`show` must answer during the fault"
    if during["causes"][0]["code"] == "loop_blocked":
        assert during["worker"]["blocked_at"].endswith(" in block")
    await blocking
    after = await shown_until(database, "blocked", "loop_blocked", most=2)
    assert after["worker"]["blocked_s"] > 4, "the worker must remember a blocked loop for a minute"
    assert after["worker"]["blocked_at"].endswith(" in block")
    assert after["status"] == "streaming"


@pytest.mark.timeout(90)
async def test_the_process_is_dead(
    client: httpx.AsyncClient, server: Server, database: str
) -> None:
    """G7: `show` names the dead process, but does not end the stream.

    The next process that runs ends the stream.
    """
    pid = await started(client, "dead")
    await asyncio.to_thread(server.kill)
    dead = await shown_until(database, "dead", "writer_dead")
    assert "ends the stream timeout (writer_lost)" in dead["causes"][0]["message"]
    again = await show(database, "dead")
    assert (again["status"], again["causes"][0]["code"]) == ("streaming", "writer_dead")
    async with PersistentTextStreaming(database) as other:
        await other.wait("dead")
    ended = await show(database, "dead")
    assert (ended["causes"][0]["code"], ended["end"]["code"]) == ("ended", "writer_lost")
    for answer in (dead, ended):
        assert (answer["worker"]["pid"], answer["worker"]["host"]) == (pid, socket.gethostname())
        assert answer["worker"]["alive"] is not True


@pytest.fixture
def own() -> Iterator[postgres_server.OwnServer]:
    server = postgres_server.own_server()
    yield server
    server.destroy()


@contextlib.asynccontextmanager
async def away(database: str, own: postgres_server.OwnServer | None) -> AsyncIterator[None]:
    """Stop PostgreSQL, or lock the SQLite file, until the block ends."""
    if own is not None:
        await asyncio.to_thread(own.stop, signal.SIGQUIT)
        try:
            yield
        finally:
            await asyncio.to_thread(own.start)
        return
    other = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_the_database_is_away(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """G12: `show` names an outage of the database, during the outage and for a while after it."""
    own: postgres_server.OwnServer | None = None
    database = f"sqlite:///{tmp_path}/inkstream.db"
    if kind == "postgres":
        own = request.getfixturevalue("own")
        database = await own.make_database()
    running = serving(tmp_path, app=APP, environment={"INKSTREAM_DATABASE": database})
    server = await asyncio.to_thread(running.__enter__)
    try:
        url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            await started(client, "away")
            async with away(database, own):
                await client.post("/say/away", json=["waits "])
                await shown_until(database, "away", "beat_late", "store_away", "unavailable")
                # A locked file counts as an outage only after a commit has waited in vain.
                await asyncio.sleep(1 if own else 12)
            shown = await shown_until(database, "away", "store_away")
            assert shown["status"] == "streaming"
            await client.post("/say/away", json=[{"end": "done"}])
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def test_there_is_no_database(tmp_path: Path) -> None:
    code, _, complaint = await run_show(f"sqlite:///{tmp_path}/none.db", "away")
    assert (code, "there is no database" in complaint) == (7, True)


@pytest.mark.timeout(90)
async def test_a_proxy_buffers(client: httpx.AsyncClient, server: Server, database: str) -> None:
    await started(client, "buffered")
    async with proxy_before(server.port) as proxy:
        proxy.buffer = True
        reading = asyncio.create_task(client.get(f"http://127.0.0.1:{proxy.port}/live/buffered"))
        shown = await shown_until(database, "buffered", "delivered")
        readers = shown["readers"]
        assert (readers["here"], readers["elsewhere"], readers["behind"]) == (0, 1, 0)
        assert "proxy on the way" in shown["causes"][0]["message"]
        assert not reading.done()
        await client.post("/say/buffered", json=[{"end": "done"}])
        await reading


@pytest.mark.timeout(90)
async def test_a_reader_is_behind(client: httpx.AsyncClient, server: Server, database: str) -> None:
    """G9: if a client does not read from its connection, `show` says so. The answer goes on."""
    counting = await client.post("/count?id=behind&pause_s=0.01&width=20000")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b"GET /live/behind HTTP/1.1\r\nhost: x\r\n\r\n")
        shown = await shown_until(database, "behind", "reader_behind")
        assert shown["readers"]["behind"] == 1
        assert shown["worker"]["pid"] == counting.json()["pid"]
        async with asyncio.timeout(20):
            while (later := await show(database, "behind"))["messages"] <= shown["messages"]:
                pass
        assert later["status"] == "streaming"
