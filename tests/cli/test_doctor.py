"""`inkstream doctor` without a proxy gives no false alarm, and refuses wrong input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from inkstream.operations.doctor.endpoint import _idle, examine
from inkstream.operations.doctor.exchange import Ending, Endpoint, Received
from inkstream.operations.doctor.findings import Verdict
from tests.cli.command import Shell
from tests.http.servers import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doctor")
    with serving(folder, app="tests.interop.doctor_app:app") as server:
        yield server


async def test_silent(shell: Shell, server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/doctor/"
    done = await shell.run("doctor", url, "--idle", "2", "--json")
    found = {finding["check"]: finding for finding in map(json.loads, done.out.splitlines())}
    assert done.code == 0, done
    assert set(found) == {
        *("http_version", "app_http_version", "buffering", "compression", "idle", "clock"),
        *("last_event_id", "authorization", "caching", "broken_end", "cpu"),
    }
    unknown = {check for check, finding in found.items() if finding["verdict"] == "unknown"}
    assert unknown == {"http_version"}  # the doctor cannot request HTTP/2 over http://
    assert "stayed open for 2 s" in found["idle"]["message"]


async def test_short_wait(server: Server) -> None:
    """If the doctor waits no longer than one ping interval, it reports ``idle`` as unknown."""
    endpoint = Endpoint.parse(f"http://127.0.0.1:{server.port}/doctor", {})
    found = {finding.check: finding for finding in await examine(endpoint, idle_s=0.5)}
    assert found["idle"].verdict is Verdict.UNKNOWN


async def test_silence_counts_from_the_last_event() -> None:
    """A proxy that gives up after 1.4 s of silence is a problem, however late the event came."""

    class Behind:
        async def get(self, path: str, *, within_s: float) -> Received:
            pieces = [(1.0, b"data: 0\n\n")]
            return Received("1.1", 200, {}, pieces, ended=Ending.BROKEN, ended_s=2.4)

    found = await _idle(Behind(), 5.0, {"ping_s": 1.5})  # type: ignore[arg-type]
    assert found.verdict is Verdict.PROBLEM
    assert "closed after 1.4 s" in found.message


@pytest.mark.parametrize(
    ("path", "headers", "words"),
    [
        ("/pid", (), "no doctor's probe"),
        ("/doctor", ("--header", "X-Denied: yes"), "403"),
    ],
)
async def test_not_the_probe(
    shell: Shell, server: Server, path: str, headers: tuple[str, ...], words: str
) -> None:
    """If the URL gives no access to a probe, the doctor reports "unknown" instead of a guess."""
    done = await shell.run("doctor", f"http://127.0.0.1:{server.port}{path}", *headers)
    assert (done.code, done.out.split()[0]) == (0, "unknown"), done
    assert words in done.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ftp://example.com/",), 2),
        (("http://user:secret@127.0.0.1/",), 2),
        (("http://127.0.0.1:1/",), 1),
        (("http://127.0.0.1:1/", "--header", "nothing"), 2),
        ((), 2),
        (("http://127.0.0.1:1/", "--database", "sqlite:///a.db"), 2),
        (("--database", "memory://"), 2),
        (("--database", "mysql://a/b"), 2),
        (("--database", "sqlite:///absent.db"), 7),
        (("--database", "postgresql://app:secret@127.0.0.1:1/app"), 7),
    ],
)
async def test_bad_input(shell: Shell, arguments: tuple[str, ...], code: int) -> None:
    """The error of a wrong option or address shows no password."""
    done = await shell.run("doctor", *arguments)
    assert (done.code, done.out) == (code, ""), done
    assert done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


async def test_database(shell: Shell) -> None:
    await shell.run("write", text=b"text")
    done = await shell.run("doctor", "--database", shell.environment["INKSTREAM_DATABASE"])
    assert done.code == 0, done
    assert {line.split()[0] for line in done.out.splitlines()} == {"fine"}


async def test_denied(server: Server) -> None:
    """The probe refuses a request if the probe's ``authorize`` refuses the request."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/doctor") as client:
        for path in ("echo", "events", "idle", "broken", "ticks", ""):
            assert (await client.get(path, params={"denied": 1})).status_code == 403
        assert (await client.get("nothing")).status_code == 404


@contextlib.asynccontextmanager
async def stopped_between_requests(server: Server) -> AsyncIterator[int]:
    """Forward connections to a server, and freeze the server while no connection is open."""
    count = 0
    tasks = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        tasks.add(asyncio.current_task())
        count += 1
        os.kill(server.process.pid, signal.SIGCONT)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", server.port)

            async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError):
                    while data := await source.read(65536):
                        target.write(data)
                        await target.drain()
                target.close()

            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            count -= 1
            if not count:
                os.kill(server.process.pid, signal.SIGSTOP)

    listener = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)
        os.kill(server.process.pid, signal.SIGCONT)


async def test_frozen(tmp_path: Path) -> None:
    """G6: the doctor reports a platform on which answers stop growing between requests."""
    with serving(tmp_path, app="tests.interop.doctor_app:app") as server:
        async with stopped_between_requests(server) as port:
            endpoint = Endpoint.parse(f"http://127.0.0.1:{port}/doctor", {})
            found = {finding.check: finding for finding in await examine(endpoint, idle_s=2)}
    wrong = {name for name, finding in found.items() if finding.verdict is Verdict.PROBLEM}
    assert wrong == {"cpu"}, found
