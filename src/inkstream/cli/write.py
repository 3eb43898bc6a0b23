"""`inkstream write`: stream the output of any program."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from inkstream._types import Status
from inkstream.cli.database import database_option, json_option, open_streams, run, wait_option
from inkstream.cli.exits import EPILOG, exit_of, say
from inkstream.cli.names import names_option
from inkstream.cli.output import OutputFailed, is_terminal, size_text, write_bytes, write_text

if TYPE_CHECKING:
    from inkstream.facade.handles import StreamWriter

_READ_BYTES = 64 * 1024
_PROGRESS_S = 0.25


@click.command("write", epilog=EPILOG)
@click.option("--id", "stream_id", metavar="ID", help="The stream's id; random by default.")
@names_option("The stream's {}.")
@click.option("--takeover", is_flag=True, help="Continue --id after its writer died or let go.")
@click.option("--tee", is_flag=True, help="Copy the input to standard output as well.")
@database_option
@wait_option
@json_option
def command(
    stream_id: str | None,
    owner: str | None,
    group: str | None,
    takeover: bool,
    tee: bool,
    database: str,
    as_json: bool,
) -> None:
    """Write standard input to a stream as it arrives.

    SOME-PROGRAM | inkstream write

    The first line of output is the id of the stream. With --tee this line goes to standard error,
    because standard output then carries the program's output. At the end of the input, the stream
    ends done. Ctrl-C ends the stream cancelled. SIGTERM and SIGHUP end the stream with an error.
    This command cannot see whether SOME-PROGRAM failed. `set -o pipefail` makes the shell report a
    failure.

    Bytes that are not UTF-8 become U+FFFD. While the database is slow, SOME-PROGRAM waits.
    """
    if takeover and stream_id is None:
        raise click.UsageError("--takeover needs --id: which stream should continue?")
    if takeover and (owner is not None or group is not None):
        raise click.UsageError("--takeover keeps the stream's owner and group: leave them out")
    if sys.stdin is None:
        raise click.UsageError("standard input is closed: what should the stream contain?")
    run(_write(database, stream_id, owner, group, takeover, _Teller(tee, as_json)))


async def _write(
    database: str,
    stream_id: str | None,
    owner: str | None,
    group: str | None,
    takeover: bool,
    teller: _Teller,
) -> int:
    async with open_streams(database, create=not takeover) as streams:
        if not takeover or stream_id is None:
            stream_id = await streams.create(stream_id, owner=owner, group=group)
        async with streams.write(stream_id, takeover=takeover) as writer:
            teller.begin(writer.stream_id)
            status = await _copy(writer, teller)
        teller.end(writer.stream_id, status)
        return exit_of(status)


async def _copy(writer: StreamWriter, teller: _Teller) -> Status:
    """Copy the input to its end, or until a signal; return the stream's final status.

    Raises:
        WriterFenced: The stream has ended, was taken over or was deleted meanwhile.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    lost = asyncio.ensure_future(writer.stopped())
    with _signals(loop, tell), _Input(loop) as source:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while True:
                chunk = asyncio.ensure_future(source.read())
                await asyncio.wait((chunk, told, lost), return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    chunk.cancel()
                    return await _end_interrupted(writer, told.result())
                if lost.done():
                    chunk.cancel()
                    await writer.flush()  # raises if the stream was stopped
                data = await chunk
                if not data:
                    break
                teller.copy(data)
                await _append(writer, decoder.decode(data), told)
            await _append(writer, decoder.decode(b"", final=True), told)
        finally:
            lost.cancel()
    await writer.finish()
    return Status.DONE


async def _append(writer: StreamWriter, text: str, told: asyncio.Future[signal.Signals]) -> None:
    """Append ``text``. If a signal arrives while the append waits for room, cancel the append."""
    appending = asyncio.ensure_future(writer.append(text))
    await asyncio.wait((appending, told), return_when=asyncio.FIRST_COMPLETED)
    if not appending.done():
        appending.cancel()
        await asyncio.wait((appending,))
        return
    await appending


async def _end_interrupted(writer: StreamWriter, number: signal.Signals) -> Status:
    if number == signal.SIGINT:
        await writer.finish(Status.CANCELLED)
        return Status.CANCELLED
    await writer.finish(
        Status.ERROR, code="interrupted", message="The program that wrote this was stopped."
    )
    return Status.ERROR


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, tell: Callable[[signal.Signals], None]
) -> Iterator[None]:
    """Let signals end the stream properly instead of killing the process."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            # loop.add_signal_handler is not used, because Windows does not have it.
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(tell, signal.Signals(n)))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Input:
    """Reads standard input in a daemon thread, so that a waiting read does not delay the exit.

    Standard input may be an ordinary file, which the event loop cannot watch.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: queue.SimpleQueue[asyncio.Future[bytes] | None] = queue.SimpleQueue()

    def __enter__(self) -> _Input:
        threading.Thread(target=self._serve, name="inkstream-input", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._asked.put(None)

    async def read(self) -> bytes:
        """Return the available input, at least one byte; empty at the end of the input."""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked.put(answer)
        return await answer

    def _serve(self) -> None:
        descriptor = sys.stdin.fileno()
        while (answer := self._asked.get()) is not None:
            try:
                data: bytes | OSError = os.read(descriptor, _READ_BYTES)
            except OSError as exc:
                data = exc
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._deliver, answer, data)

    @staticmethod
    def _deliver(answer: asyncio.Future[bytes], data: bytes | OSError) -> None:
        if answer.done():
            return
        if isinstance(data, bytes):
            answer.set_result(data)
        else:
            answer.set_exception(data)


class _Teller:
    def __init__(self, tee: bool, as_json: bool) -> None:
        self._tee = tee
        self._as_json = as_json
        self._to_stderr = tee
        self._progress = is_terminal(sys.stderr) and not (tee and is_terminal(sys.stdout))
        self._bytes = 0
        self._began = self._shown = time.monotonic()

    def _line(self, line: str) -> None:
        # The stream must continue even if this line cannot be written.
        if not self._to_stderr:
            try:
                write_text(line + "\n")
            except BrokenPipeError:
                return
            except OutputFailed:
                self._to_stderr = True
        if self._to_stderr:
            with contextlib.suppress(OSError):
                click.echo(line, err=True)

    def begin(self, stream_id: str) -> None:
        """Print the stream's id."""
        self._line(json.dumps({"stream_id": stream_id}) if self._as_json else stream_id)

    def copy(self, data: bytes) -> None:
        """With --tee, copy input to standard output. Count the bytes, and show the count."""
        self._bytes += len(data)
        if self._tee:
            try:
                write_bytes(data)
            except OSError as exc:
                # The stream goes on without standard output, so that its readers lose no text.
                self._tee = False
                why = "is closed" if isinstance(exc, BrokenPipeError) else "cannot be written"
                say(f"standard output {why}; the stream continues")
        now = time.monotonic()
        if self._progress and now - self._shown >= _PROGRESS_S:
            self._shown = now
            click.echo(f"\r\x1b[K{self._sum(now)}", err=True, nl=False)

    def _sum(self, now: float) -> str:
        return f"{size_text(self._bytes)} in {now - self._began:.1f} s"

    def end(self, stream_id: str, status: Status) -> None:
        """Print how the stream ended, as JSON or for a person at a terminal."""
        if self._progress:
            click.echo(f"\r\x1b[K{status}: {self._sum(time.monotonic())}", err=True)
        if self._as_json:
            last = {"stream_id": stream_id, "status": status.value, "bytes": self._bytes}
            self._line(json.dumps(last))
