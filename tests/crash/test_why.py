"""Why is this answer stuck? Real faults, explained by a process that starts after them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.servers import Server, serving
from tests.proxy import proxy_before

APP = "tests.crash.why_app:app"
_MAIN = "from inkstream.cli import main; main()"


async def run_show(database: str, name: str) -> tuple[int, dict[str, Any], str]:
    """Run `inkstream show` in its own process; return its code, its JSON, its error output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MAIN, "show", name, "--json", "--database", database),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out or b"{}"), err.decode()


async def show(database: str, name: str) -> dict[str, Any]:
    """Return the output of `inkstream show`, and print it."""
    code, shown, err = await run_show(database, name)
    if code == 7:  # the error about the database is the answer
        shown = {"causes": [{"code": "unavailable", "message": err}]}
    else:
        assert code == 0, err
    answer = shown["causes"][0]["message"]
    print(f"{name}: {answer}")  # noqa: T201 - pytest -rP shows the answers
    return shown


async def shown_until(database: str, name: str, *codes: str) -> dict[str, Any]:
    """Ask repeatedly until the first cause is one of these."""
    seen: list[str] = []
    async with asyncio.timeout(40):
        while True:
            shown = await show(database, name)
            seen.append(shown["causes"][0]["code"])
            if seen[-1] in codes:
                return shown


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/inkstream.db"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    running = serving(tmp_path, app=APP)
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
    """Start a stream with one piece; return the process id of its writer."""
    answer = await client.post(f"/create?id={name}&start=1")
    await client.post(f"/say/{name}", json=["so far "])
    async with client.stream("GET", f"/live/{name}") as response:
        async for line in response.aiter_lines():
            if line.startswith("data:"):  # the piece, and therefore the claim, is stored
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
    await asyncio.sleep(1.5)  # wait for a beat, so that later its absence shows the fault
    blocking = asyncio.create_task(client.post("/block?s=5"))
    during = await shown_until(database, "blocked", "beat_late", "loop_blocked")
    assert during["worker"]["pid"] == pid
    assert not blocking.done(), "`show` must answer during the fault"
    if during["causes"][0]["code"] == "loop_blocked":
        assert during["worker"]["blocked_at"].endswith(" in block")
    await blocking
    after = await shown_until(database, "blocked", "loop_blocked")
    assert after["worker"]["blocked_s"] > 4
    assert after["status"] == "streaming"


@pytest.mark.timeout(90)
async def test_the_process_is_dead(
    client: httpx.AsyncClient, server: Server, database: str
) -> None:
    """G7: the process that asks may itself end the stream."""
    pid = await started(client, "dead")
    await asyncio.to_thread(server.kill)
    shown = await show(database, "dead")
    assert shown["causes"][0]["code"] in ("writer_dead", "ended")
    ended = await shown_until(database, "dead", "ended")
    assert ended["end"]["code"] == "writer_lost"
    for answer in (shown, ended):
        assert (answer["worker"]["pid"], answer["worker"]["host"]) == (pid, socket.gethostname())
        assert answer["worker"]["alive"] is not True


@pytest.mark.timeout(90)
async def test_the_database_is_away(client: httpx.AsyncClient, database: str) -> None:
    """G12: during the outage, the command itself reports it; later, the writer reports it."""
    await started(client, "away")
    path = database.removeprefix("sqlite:///")

    def hold() -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(14)
        other.execute("ROLLBACK")
        other.close()

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await client.post("/say/away", json=["waits "])
    await shown_until(database, "away", "beat_late", "store_away", "unavailable")
    await holding
    shown = await shown_until(database, "away", "store_away")
    assert shown["status"] == "streaming"
    code, _, complaint = await run_show(f"{database}.gone", "away")
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
    """G9: a client reads nothing, while the answer goes on."""
    await client.post("/count?id=behind&pause_s=0.002&width=20000")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b"GET /live/behind HTTP/1.1\r\nhost: x\r\n\r\n")
        shown = await shown_until(database, "behind", "reader_behind")
        assert shown["readers"]["behind"] == 1
    assert os.getpid() != shown["worker"]["pid"]
