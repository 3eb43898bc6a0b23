"""Several processes on one database start, follow and cancel streams, and die."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Rounds
from tests.crash.conftest import Lateness, Process, Spawn
from tests.crash.worker import LEASE_S, POLL_S, TIMINGS

CONTAINER = ("unshare", "-Urpf", "--mount-proc", "--kill-child")
CONTAINERS = (
    shutil.which("unshare") is not None
    and subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
)


@pytest.mark.timeout(120)
async def test_one_racing_start_calls_its_source(spawn: Spawn, rounds: Rounds) -> None:
    """G4: if processes start the same stream at once, only one process calls its source."""
    processes = await asyncio.gather(*[spawn() for _ in range(4)])
    winners: dict[str, list[int]] = {}
    names = [f"race-{number}" for number in rounds(200, 2_000)]
    for start in range(0, len(names), 10):
        some = names[start : start + 10]
        await processes[0].do("create", *some)
        # Every second process starts the streams in reverse order. Otherwise the fastest process
        # could win every race.
        called = await asyncio.gather(
            *[p.do("race", *(some, some[::-1])[n % 2]) for n, p in enumerate(processes)]
        )
        for number, names_called in enumerate(called):
            for name in names_called:
                winners.setdefault(name, []).append(number)
    assert {name: len(won) for name, won in winners.items()} == dict.fromkeys(names, 1)
    assert len({won[0] for won in winners.values()}) > 1, "one process won every race"
    for name in names[:: len(names) // 10]:
        status, _, text = await processes[3].do("read", name)
        assert (status, text) == ("done", f"by {processes[winners[name][0]].process.pid}")


async def writing(writer: Process, name: str) -> int:
    await writer.do("create", name)
    return writer.begin("start", name)


async def test_follow_from_another_process(spawn: Spawn) -> None:
    """G1, G2: each piece reaches a reader in another process before the next piece is written."""
    a, b = await asyncio.gather(spawn(), spawn())
    await writing(a, "live")
    following = b.begin("follow", "live")
    took: list[float] = []
    for number in range(20):
        began = time.monotonic()
        await a.do("say", "live", f"{number} ")
        await b.heard(following, f"{number} ")
        took.append(time.monotonic() - began)
    await a.do("say", "live", None)
    assert await b.told(following) == ["end", "done", None]
    assert sorted(took)[10] < 0.2, "the text arrived by the poll, not by the notifier"


async def test_cancel_from_a_third_process(
    spawn: Spawn,
) -> None:
    """G6: a cancel by a third process keeps the text, and closes the source within 1 s."""
    a, b, c = await asyncio.gather(spawn(), spawn(), spawn())
    source = await writing(a, "stopped")
    following = b.begin("follow", "stopped")
    await a.do("say", "stopped", "half")
    await b.heard(following, "half")
    async with Lateness() as machine:
        began = time.monotonic()
        assert await c.do("cancel", "stopped") is True
        seen_at, *end = await b.told_at(following)
        closed_at, *closed = await a.told_at(source)
    assert end == ["end", "cancelled", None]
    assert closed == ["closed"]
    assert seen_at - began < 1.0 + machine.late_s
    assert closed_at - began < 1.0 + machine.late_s
    assert await c.do("cancel", "stopped") is False
    assert await c.do("read", "stopped") == ["cancelled", None, "half"]


async def test_killed_writer_ends_readers_in_two_seconds(spawn: Spawn) -> None:
    """G7, G1: readers of a killed writer get the end within 2 s, and their text is stored."""
    a, b = await asyncio.gather(spawn(), spawn())
    names = [f"lost-{number}" for number in range(5)]
    followings = []
    for name in names:
        await writing(a, name)
        followings.append(b.begin("follow", name))
        await a.do("say", name, f"half of {name}")
        await b.heard(followings[-1], f"half of {name}")
    own = await writing(b, "living")
    async with Lateness() as machine:
        a.process.kill()
        await a.process.wait()
        dead_at = time.monotonic()
        ends = [await b.told_at(following) for following in followings]
    for name, (told_at, *end) in zip(names, ends, strict=True):
        assert end == ["end", "timeout", "writer_lost"]
        assert told_at - dead_at < 2.0 + machine.late_s
        assert await b.do("read", name) == ["timeout", "writer_lost", f"half of {name}"]
    await b.do("say", "living", "all", None)
    assert await b.told(own) == ["closed"]
    assert await b.told(own) == ["done", None]
    assert (await b.do("read", "living"))[2] == "all"


@pytest.mark.skipif(not CONTAINERS, reason="no user namespaces on this system")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_two_containers_share_a_file(spawn: Spawn) -> None:
    """G4, G7: two containers that share a file start each stream once, and notice a death.

    The containers have their own process ids and their own /proc.
    """
    a, b = await asyncio.gather(spawn(before=CONTAINER), spawn(before=CONTAINER))
    names = [f"race-{number}" for number in range(20)]
    await a.do("create", *names)
    called = await asyncio.gather(a.do("race", *names), b.do("race", *names[::-1]))
    assert sorted(called[0] + called[1]) == sorted(names)
    await writing(a, "lost")
    following = b.begin("follow", "lost")
    await a.do("say", "lost", "half")
    await b.heard(following, "half")
    await asyncio.sleep(1.5)  # in this time ``b`` would end the stream if ``a``'s lock looked free
    async with Lateness() as machine:
        a.process.kill()
        await a.process.wait()
        dead_at = time.monotonic()
        told_at, *end = await b.told_at(following)
    assert end == ["end", "timeout", "writer_lost"]
    assert told_at - dead_at < 2.0 + machine.late_s
    assert await b.do("read", "lost") == ["timeout", "writer_lost", "half"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_writer_that_copies_its_own_files(
    spawn: Spawn, database: str, tmp_path: Path
) -> None:
    """G1, G3: if a writer copies its own database, no stream is taken over, and no text is lost.

    The copy drops SQLite's locks on the file. After each copy, another program opens and closes the
    file. Without a lock of inkstream, this program would take itself for the file's last user, and
    remove the ``-wal`` file with the newest text.
    """
    a, b = await asyncio.gather(spawn(), spawn())
    await a.do("create_job", "job")
    job = a.begin("job", "job")
    assert await a.told(job) == ["begins", ""]
    heir = b.begin("job", "job")
    text = ""
    for number in range(10):
        await a.do("copy", str(tmp_path))
        outsider = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        outsider += "c.execute('SELECT * FROM inkstream_meta').fetchall(); c.close()"
        path = database.removeprefix("sqlite:///")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", outsider, path)
        assert await process.wait() == 0
        text += f"{number} "
        await a.do("say", "job", f"{number} ")
        async with asyncio.timeout(5):
            while (await b.do("read", "job"))[2] != text:
                pass
    a.process.kill()
    assert await b.told(heir) == ["begins", text]
    await b.do("say", "job", "by the heir", None)
    assert await b.told(heir) == ["done", None]
    assert (await b.do("read", "job"))[2] == f"{text}by the heir"


@pytest.mark.timeout(40)
async def test_short_pause_keeps_the_stream(
    spawn: Spawn,
) -> None:
    """G7: if a process is stopped for less than its lease, other workers do not end its streams."""
    a, b = await asyncio.gather(spawn(), spawn())
    await writing(a, "paused")
    following = b.begin("follow", "paused")
    await a.do("say", "paused", "before ")
    await b.heard(following, "before ")
    a.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.7 * LEASE_S)  # the process is paused for this time
    a.process.send_signal(signal.SIGCONT)
    await a.do("say", "paused", "after")
    await b.heard(following, "after")
    await a.do("say", "paused", None)
    assert await b.told(following) == ["end", "done", None]


@pytest.mark.timeout(60)
async def test_writer_after_its_lease_changes_nothing(spawn: Spawn, timing: str) -> None:
    """G3, G7: a writer that pauses for longer than its lease is taken for dead, and cannot append.

    With the default times, its readers get the end within 15 seconds.
    """
    within_s = TIMINGS[timing].lease_s + 3
    a, b = await asyncio.gather(spawn(timing=timing), spawn(timing=timing))
    source = await writing(a, "late")
    following = b.begin("follow", "late")
    await a.do("say", "late", "before")
    await b.heard(following, "before")
    async with Lateness() as machine:
        a.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        told_at, *end = await b.told_at(following, within_s=2 * within_s)
    assert end == ["end", "timeout", "writer_lost"]
    assert told_at - stopped < within_s + machine.late_s
    a.process.send_signal(signal.SIGCONT)
    a.begin("say", "late", "after")
    assert await a.told(source) == ["closed"]
    assert await b.do("read", "late") == ["timeout", "writer_lost", "before"]


@pytest.mark.timeout(60)
async def test_reader_in_another_process_keeps_the_answer(
    spawn: Spawn,
) -> None:
    """G6: with ``on_disconnect="cancel"``, a reader in another process keeps an answer running."""
    a, b = await asyncio.gather(spawn(), spawn())
    await a.do("create", "watched")
    source = a.begin("start", "watched", "cancel")
    following = b.begin("follow", "watched")
    await a.do("say", "watched", "0 ")
    await b.heard(following, "0 ")
    for second in range(1, 6 * int(POLL_S)):
        await asyncio.sleep(1)  # during this time the stream has a reader in the other process
        await a.do("say", "watched", f"{second} ")
        await b.heard(following, f"{second} ")
    await b.end()
    assert await a.told(source) == ["closed"]
    assert (await a.do("read", "watched"))[0] == "cancelled"
