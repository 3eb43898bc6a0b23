"""`ls`, `cat`, `cancel` and `rm` list, show, stop and delete streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming
from inkstream.cli.exits import Exit
from inkstream.stores.sqlite._connection import lock_file
from inkstream.stores.sqlite._locks import WritersLock
from tests.cli.command import Shell

CLOSED_S = 4.0
"""In this time, a command on a busy machine starts, or ends after its last output."""


@pytest.fixture
async def three(streams: PersistentTextStreaming) -> None:
    async with streams:
        for name, owner in (("a", "ann"), ("b", "ann"), ("c", "bob")):
            await streams.create(name, owner=owner, group="g", metadata={"n": name})
        async with streams.write("a") as writer:
            await writer.append("some ")
            await writer.append({"tool": "search"})
            await writer.append("text")
            writer.result = {"tokens": 2}


def ids(out: str) -> list[str]:
    return [line.split("\t")[0] for line in out.splitlines()]


@pytest.mark.usefixtures("three")
async def test_ls_lists_newest_first_and_filters(shell: Shell) -> None:
    everything = await shell.run("ls")
    assert ids(everything.out) == ["c", "b", "a"]
    assert everything.out.splitlines()[2].split("\t")[1:3] == ["done", "26"]
    for arguments, expected in (
        (["--owner", "ann"], ["b", "a"]),
        (["--group", "g", "--status", "done"], ["a"]),
        (["--status", "pending"], ["c", "b"]),
        (["--larger-than", "3"], ["a"]),
        (["--older-than", "1h"], []),
        (["--newer-than", "1h", "--limit", "10"], ["c", "b", "a"]),
    ):
        assert ids((await shell.run("ls", *arguments)).out) == expected, arguments
    assert (await shell.run("ls", "--newer-than", "soon")).code == 2
    assert (await shell.run("ls", "--cursor", "soon")).code == 2


@pytest.mark.usefixtures("three")
async def test_ls_continues_at_a_cursor(shell: Shell) -> None:
    seen: list[str] = []
    cursor: list[str] = []
    for _ in range(3):
        done = await shell.run("ls", "--json", "--limit", "1", *cursor)
        lines = [json.loads(line) for line in done.out.splitlines()]
        seen.append(lines[0]["stream_id"])
        cursor = ["--cursor", lines[1]["cursor"]] if len(lines) > 1 else []
    assert seen == ["c", "b", "a"]
    assert cursor == [], "the last page must have no cursor"
    assert ids((await shell.run("ls", "--limit", "1", "--all")).out) == ["c", "b", "a"]


@pytest.mark.usefixtures("three")
async def test_ls_json_has_every_field(shell: Shell) -> None:
    body = json.loads((await shell.run("cat", "a", "--json")).out)
    assert body["text"] == "some text"
    assert body["parts"] == ["some ", {"tool": "search"}, "text"]
    assert body["end"]["result"] == {"tokens": 2}
    assert body["metadata"] == {"n": "a"}
    steps = [json.loads(s) for s in (await shell.run("follow", "a", "--json")).out.splitlines()]
    assert [step.get("text") or step.get("object") for step in steps[:-1]] == body["parts"]
    assert steps[-1]["end"]["result"] == {"tokens": 2}
    assert steps[-1]["offset"] == body["offset"]
    assert (await shell.run("follow", "a")).out == "some text"
    listed = json.loads((await shell.run("ls", "--json", "--status", "done")).out)
    assert (listed["stream_id"], listed["owner"], listed["result"]) == ("a", "ann", {"tokens": 2})


@pytest.mark.usefixtures("three")
async def test_cancel_ends_only_live_streams(shell: Shell) -> None:
    done = await shell.run("cancel", "a", "b", "absent", "--json")
    assert done.code == 3
    assert [json.loads(line)["cancelled"] for line in done.out.splitlines()] == [False, True]
    assert ids((await shell.run("ls", "--status", "cancelled")).out) == ["b"]
    assert (await shell.run("follow", "b")).code == 5


@pytest.mark.usefixtures("three")
async def test_rm_deletes_the_named_or_all_of_an_owner(shell: Shell) -> None:
    assert (await shell.run("rm", "c", "--owner", "ann")).code == 3, "the stream has another owner"
    done = await shell.run("rm", "--all", "--owner", "ann", "--json")
    assert json.loads(done.out) == {"deleted": 2}
    assert ids((await shell.run("ls")).out) == ["c"]
    assert (await shell.run("rm", "c")).code == 0
    assert (await shell.run("cat", "c")).code == 3
    for wrong in (["rm"], ["rm", "--all"], ["rm", "c", "--all", "--owner", "ann"]):
        assert (await shell.run(*wrong)).code == 2, wrong


@pytest.mark.usefixtures("three")
async def test_rm_asks_a_person(shell: Shell) -> None:
    for answer, left in ((b"n\n", ["c", "b", "a"]), (b"y\n", ["c", "b"])):
        person, terminal = pty.openpty()
        try:
            async with shell.running("rm", "a", stdin=terminal) as process:
                assert process.stderr is not None
                asked = await process.stderr.readuntil(b"]: ")
                assert b"'a'" in asked or b"Delete a" in asked
                os.write(person, answer)
                await process.wait()
        finally:
            os.close(person)
            os.close(terminal)
        assert ids((await shell.run("ls")).out) == left


async def test_g12_absent_database_is_an_error(shell: Shell) -> None:
    for command in (["ls"], ["cat", "x"], ["follow", "x"], ["cancel", "x"], ["rm", "x"]):
        done = await shell.run(*command)
        assert done.code == 7, command
        assert "there is no database" in done.err
    assert list(shell.folder.iterdir()) == []
    absent = f"sqlite:///{shell.folder / 'absent' / 'x.db'}"
    serve = ["serve", "--allow-anonymous", "--port", "0"]
    for command in (["write"], ["demo", "--port", "0"], serve):
        done = await shell.run(*command, "--database", absent)
        assert (done.code, done.out) == (7, ""), command
        assert done.err.count("\n") == 1, "the error must be one line"
    assert (await shell.run("ls", "--database", "mongodb://x")).code == 2
    assert (await shell.run("ls", "--database", "memory://")).code == 2


@pytest.mark.usefixtures("three")
async def test_g12_a_question_waits_for_no_writer(shell: Shell) -> None:
    """Commands that only read wait neither for inkstream's lock of writers nor for SQLite's."""
    path = shell.folder / "streams.db"
    lock = WritersLock(path)
    await asyncio.to_thread(lock.acquire)
    other = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(other), contextlib.closing(lock):
        other.execute("BEGIN IMMEDIATE")
        for command in ("ls",), ("cat", "a"), ("show", "a"), ("verify",):
            done = await shell.run(*command)
            assert done.code == 0, (command, done)
            assert "a thread waited" not in done.err, command


@pytest.mark.usefixtures("three")
async def test_a_command_says_for_which_lock_it_waits(shell: Shell) -> None:
    """`rm` soon says which process has the lock, and waits no longer than `--wait`.

    `cancel` of an ended stream and `follow` write nothing, and do not wait for the lock.
    """
    path = shell.folder / "streams.db"
    lock = WritersLock(path)
    await asyncio.to_thread(lock.acquire)
    with contextlib.closing(lock):
        file = lock_file(path).stat().st_ino
        shown = f":{file} " in await asyncio.to_thread(Path("/proc/locks").read_text)
        who = f"process {os.getpid()}" if shown else "another process or a slow disk"
        async with shell.running("rm", "b", "--wait", "4") as process:
            assert process.stderr is not None
            began = time.monotonic()
            said = (await process.stderr.readline()).decode()
            assert f"waiting: {who} keeps the writers' lock" in said
            waited_s = time.monotonic() - began
            error = (await process.stderr.read()).decode()
            assert error.startswith(f"inkstream: {who} keeps the writers' lock"), error
            assert time.monotonic() - began < waited_s + 3 + CLOSED_S
            assert await process.wait() == Exit.UNAVAILABLE
        for command in ("cancel", "a"), ("follow", "a"):
            began = time.monotonic()
            done = await shell.run(*command)
            assert (done.code, done.err) == (Exit.DONE, ""), command
            assert time.monotonic() - began < 2 * CLOSED_S, command


async def test_control_characters_are_escaped(
    shell: Shell, streams: PersistentTextStreaming
) -> None:
    """An owner or a group cannot break a line of `ls` and `show`, or steer the terminal."""
    async with streams:
        await streams.create("s", owner="a\tb\n", group="\x1b[2J\x9b")
    assert (await shell.run("ls")).out.split("\t")[4:6] == [r"a\tb\n", r"\x1b[2J\x9b"]
    shown = (await shell.run("show", "s")).out
    assert [line.split()[1] for line in shown.splitlines()[-2:]] == [r"a\tb\n", r"\x1b[2J\x9b"]


async def test_a_name_that_is_not_utf8_is_wrong_usage(shell: Shell) -> None:
    for command in (r"write --group", r"ls --owner", r"rm --all --owner"):
        done = await shell.script(f"inkstream {command} \"$(printf '\\377')\"")
        assert done.code == 2, (command, done)


async def test_damaged_text_is_one_line(shell: Shell) -> None:
    assert (await shell.run("write", "--id", "s", text=b"text")).code == 0
    with contextlib.closing(sqlite3.connect(shell.folder / "streams.db")) as db, db:
        for table in "segments", "live":
            damaged = "CAST(x'ff' || substr(payload, 2) AS BLOB)"
            db.execute(f"UPDATE inkstream_{table} SET payload = {damaged}")
    for command in "cat", "follow":
        done = await shell.run(command, "s")
        assert done.code == 1, done
        assert done.err.splitlines()[-1].startswith("inkstream: the stored text is damaged")
    assert (await shell.run("verify")).code == 1


async def test_taken_id_is_a_conflict(shell: Shell) -> None:
    assert (await shell.run("write", "--id", "x", text=b"")).code == 0
    assert (await shell.run("write", "--id", "x", text=b"")).code == 8


async def test_every_exit_code_is_documented(shell: Shell) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    help_text = (await shell.run("follow", "--help")).out
    for code in Exit:
        assert f"\n  {code.value:<3}  " in help_text.replace("\n    ", "\n  ")
        assert f"| {code.value} |" in page


async def test_show_names_the_writer_and_the_cause(
    shell: Shell, streams: PersistentTextStreaming
) -> None:
    async with streams:
        await streams.create("a", owner="ann")
        async with streams.write("a") as writer:
            await writer.append("some text")
            await writer.flush()
            done = await shell.run("show", "a", "--json")
            shown = json.loads(done.out)
            assert (shown["status"], shown["epoch"], shown["bytes"]) == ("streaming", 1, 9)
            assert shown["worker"]["pid"] == os.getpid()
            assert shown["worker"]["host"]
            assert shown["worker"]["alive"] is True
            assert abs(shown["at"] - shown["last_piece_at"]) < 30
            lines = (await shell.run("show", "a")).out
            assert f"process {os.getpid()} on" in lines
            assert "some text" not in done.out + lines
    ended = (await shell.run("show", "a")).out
    assert "It is complete." in ended
    assert (await shell.run("show", "none")).code == Exit.NOT_FOUND


async def test_ls_watches(shell: Shell) -> None:
    """In a pipe, `ls --watch` ends each list with an empty line. Ctrl-C exits."""
    await shell.run("write", "--id", "first", text=b"one")
    async with shell.running("ls", "--watch", "0.1") as watching:
        assert watching.stdout is not None
        lists: list[list[str]] = [[]]
        while not any("second" in line for line in lists[-1]):
            line = (await watching.stdout.readline()).decode()
            assert line, "the command ended by itself"
            if line.strip():
                lists[-1].append(line.split("\t")[0])
                continue
            if len(lists) == 2:
                await shell.run("write", "--id", "second", text=b"two")
            lists.append([])
        assert lists[0] == ["first"]
        # A list begins with the newest stream, and the loop above stops after the line "second".
        assert lists[-1] == ["second"]
        watching.send_signal(signal.SIGINT)
        assert await watching.wait() == 130
