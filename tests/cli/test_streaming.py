"""`write` runs in one process and `follow` in another, with real pipes and real signals."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from inkstream import PersistentTextStreaming
from tests.cli.command import Shell, give, line_of, text_of


async def test_g1_g2_text_is_followed_live_in_another_process(shell: Shell) -> None:
    async with shell.running("write") as writer:
        stream_id = await line_of(writer.stdout)
        give(writer, b"not a whole line yet")
        async with shell.running("follow", stream_id) as follower:
            # The writer's input is still open, so this text arrived before the end.
            assert await text_of(follower.stdout, 20) == "not a whole line yet"
            give(writer, b", and more")
            assert await text_of(follower.stdout, 10) == ", and more"
            assert writer.returncode is None
            assert writer.stdin is not None
            writer.stdin.close()
            assert await follower.wait() == 0
            assert await writer.wait() == 0
    assert (await shell.run("cat", stream_id)).out == "not a whole line yet, and more"


async def test_g11_any_chunks_of_bytes_give_the_same_text(shell: Shell) -> None:
    text = "é\r\n\x00\u2028🖋 data: x\n\n"
    data = text.encode() + b"\xff" + "🖋".encode()[:2]
    async with shell.running("write", "--id", "cut") as writer:
        await line_of(writer.stdout)
        async with shell.running("follow", "cut", "--json") as follower:
            read = ""
            for byte in range(len(data)):
                give(writer, data[byte : byte + 1])
                expected = data[: byte + 1].decode(errors="ignore")
                while len(read) < len(expected.rstrip("\ufffd")):
                    read += json.loads(await line_of(follower.stdout))["text"]
    # The writer was killed inside a character, but the text before that character is stored.
    assert (await shell.run("cat", "cut")).out.startswith(text)

    done = await shell.run("write", "--id", "whole", text=data)
    assert done.code == 0
    assert (await shell.run("cat", "whole")).out == text + "\ufffd\ufffd"


async def test_g7_follower_of_a_killed_writer_exits_with_timeout(
    shell: Shell,
) -> None:
    async with shell.running("write", "--id", "lost") as writer:
        await line_of(writer.stdout)
        give(writer, b"half an ans")
        async with shell.running("follow", "lost") as follower:
            assert await text_of(follower.stdout, 11) == "half an ans"
            writer.kill()
            out, err = await follower.communicate()
            assert follower.returncode == 6
            assert out == b""
            assert b"writer_lost" in err
    assert (await shell.run("cat", "lost")).out == "half an ans"


async def test_g6_cancel_stops_a_writer_that_waits_for_input(
    shell: Shell,
) -> None:
    async with shell.running("write", "--id", "stop me") as writer:
        await line_of(writer.stdout)
        give(writer, b"seen")
        async with shell.running("follow", "stop me") as follower:
            assert await text_of(follower.stdout, 4) == "seen"
            assert (await shell.run("cancel", "stop me")).code == 0
            assert await follower.wait() == 5
            # The writer must end although its input stays open.
            assert await writer.wait() == 5


async def test_interrupt_ends_the_stream_cancelled(shell: Shell) -> None:
    async with shell.running("write", "--id", "i") as writer:
        await line_of(writer.stdout)
        give(writer, b"text")
        async with shell.running("follow", "i") as follower:
            assert await text_of(follower.stdout, 4) == "text"
            writer.send_signal(signal.SIGINT)
            assert await writer.wait() == 5
            assert await follower.wait() == 5


async def test_termination_ends_the_stream_in_an_error(shell: Shell) -> None:
    async with shell.running("write", "--id", "t") as writer:
        await line_of(writer.stdout)
        give(writer, b"text")
        async with shell.running("follow", "t") as follower:
            assert await text_of(follower.stdout, 4) == "text"
            writer.terminate()
            assert await writer.wait() == 4
            assert await follower.wait() == 4
    body = json.loads((await shell.run("cat", "t", "--json")).out)
    assert (body["status"], body["end"]["code"]) == ("error", "interrupted")


async def test_follow_continues_at_an_offset(shell: Shell) -> None:
    async with shell.running("write", "--id", "o") as writer:
        await line_of(writer.stdout)
        give(writer, b"first")
        async with shell.running("follow", "o", "--json") as follower:
            step = json.loads(await line_of(follower.stdout))
            assert step["text"] == "first"
        give(writer, b"second")
        assert writer.stdin is not None
        writer.stdin.close()
        assert await writer.wait() == 0
    done = await shell.run("follow", "o", "--offset", step["offset"], "--json")
    text, end = map(json.loads, done.out.splitlines())
    assert text["text"] == "second"
    assert end["end"]["status"] == "done"
    assert (await shell.run("follow", "o", "--offset", "nonsense")).code == 2


async def test_g3_takeover_from_a_living_writer_is_refused(shell: Shell) -> None:
    async with shell.running("write", "--id", "mine") as writer:
        await line_of(writer.stdout)
        give(writer, b"text")
        async with shell.running("follow", "mine") as follower:
            await text_of(follower.stdout, 4)
            taken = await shell.run("write", "--id", "mine", "--takeover", text=b"!")
            assert taken.code == 8, "the writer still lives"
    assert (await shell.run("write", "--takeover", text=b"")).code == 2
    assert (await shell.run("write", "--id", "absent", "--takeover", text=b"")).code == 3


async def test_takeover_writes_a_pending_stream(
    shell: Shell, streams: PersistentTextStreaming
) -> None:
    async with streams:
        await streams.create("job", owner="ann")
        done = await shell.run("write", "--id", "job", "--takeover", text=b"from a shell")
        assert done.code == 0
        body = await streams.read("job")
        assert (body.text, body.owner, body.status) == ("from a shell", "ann", "done")


async def test_tee_copies_exactly_and_prints_the_id_on_stderr(shell: Shell) -> None:
    async with shell.running("write", "--tee") as writer:
        out, err = await writer.communicate(b"a\xffb\n")
        assert writer.returncode == 0
    assert out == b"a\xffb\n"
    assert (await shell.run("cat", err.decode().strip())).out == "a\ufffdb\n"


async def test_write_json_prints_first_and_last_line(shell: Shell) -> None:
    done = await shell.run("write", "--json", text=b"12345")
    first, last = map(json.loads, done.out.splitlines())
    assert last == {"stream_id": first["stream_id"], "status": "done", "bytes": 5}


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_g2_large_input_is_complete(shell: Shell, unbuffered: str) -> None:
    """G2: a text that is larger than all buffers is stored and printed completely."""
    shell.environment["PYTHONUNBUFFERED"] = unbuffered
    text = "".join(f"{n:07d}\n" for n in range(60_000))
    assert (await shell.run("write", "--id", "big", text=text.encode())).code == 0
    assert (await shell.run("cat", "big")).out == text


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
async def test_output_that_cannot_be_written_is_one_line(shell: Shell, where: str) -> None:
    assert (await shell.run("write", "--id", "s", text=b"text")).code == 0
    for command in ("ls", "cat s", "follow s", "sql", "rm --json s"):
        done = await shell.script(f"inkstream {command} {where}")
        assert done.code == 1, (command, done)
        lines = [line for line in done.err.splitlines() if "the stream" not in line]
        assert len(lines) == 1, (command, done.err)
        assert lines[0].startswith("inkstream: standard output cannot be written"), command


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize("tee", ["", "--tee"])
async def test_g6_a_stream_goes_on_without_output(shell: Shell, where: str, tee: str) -> None:
    """If standard output cannot be written, `write` still writes the stream to its end.

    `write` prints the id of the stream on standard error.
    """
    done = await shell.script(f"echo text | inkstream write {tee} --id s {where}")
    assert (done.code, done.err.split()[0]) == (0, "s"), done
    assert "Traceback" not in done.err
    assert (await shell.run("cat", "s")).out == "text\n"


async def test_write_without_input_is_wrong_usage(shell: Shell) -> None:
    """If standard input is closed, `write` creates no stream, because nobody would end it."""
    assert (await shell.script("inkstream write <&-")).code == 2
    assert not any(shell.folder.iterdir())


async def test_broken_pipe_ends_follow_quietly(shell: Shell) -> None:
    await shell.run("write", "--id", "big", text=b"x" * 2_000_000)
    for command in ("follow", "cat"):
        async with shell.running(command, "big") as reader:
            assert await text_of(reader.stdout, 1) == "x"
            transport = reader._transport  # type: ignore[attr-defined]
            transport.get_pipe_transport(1).close()
            assert reader.stderr is not None
            assert await reader.stderr.read() == b""
            assert await reader.wait() == 141


async def test_interrupted_follow_has_its_exit_code(shell: Shell) -> None:
    async with shell.running("write", "--id", "i") as writer:
        await line_of(writer.stdout)
        give(writer, b"text")
        async with shell.running("follow", "i") as follower:
            assert await text_of(follower.stdout, 4) == "text"
            follower.send_signal(signal.SIGINT)
            _, err = await follower.communicate()
            assert (follower.returncode, err) == (130, b"")


async def test_two_followers_see_the_same(shell: Shell) -> None:
    async with shell.running("write", "--id", "s") as writer:
        await line_of(writer.stdout)
        async with shell.running("follow", "s") as one, shell.running("follow", "s") as two:
            for piece in (b"one ", b"two ", b"three"):
                give(writer, piece)
                texts = await asyncio.gather(
                    text_of(one.stdout, len(piece)), text_of(two.stdout, len(piece))
                )
                assert set(texts) == {piece.decode()}
