"""`inkstream show`: the state of a stream, and the reasons for this state."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from inkstream._types import End, StreamId
from inkstream.cli.database import database_option, json_option, open_store, run, wait_option
from inkstream.cli.exits import EPILOG, Exit
from inkstream.cli.output import age_text, printable, size_text, write_json, write_text
from inkstream.operations.describe import describe
from inkstream.operations.description import ReaderCounts, StreamDescription, WorkerDescription


@click.command("show", epilog=EPILOG)
@click.argument("stream_id", metavar="ID")
@database_option
@wait_option
@json_option
def command(stream_id: str, database: str, as_json: bool) -> None:
    """Show the state of a stream, and the reasons for this state.

    The command prints the stream's status, the time of its last piece, its writer and its readers.
    It also prints whether the writer's process is alive, and what happens when a time limit passes.
    It never prints text, and it changes no stream. It works on any machine that reaches the
    database, also long after a fault.
    """
    run(_show(database, stream_id, as_json))


async def _show(database: str, stream_id: str, as_json: bool) -> int:
    async with open_store(database) as store:
        state = (await store.read(StreamId(stream_id), 0, 0)).state
        description = await describe(store, state)
    if as_json:
        write_json(description.as_json())
    else:
        lines = _lines(description)
        width = max(len(name) for name, _ in lines)
        write_text("".join(f"{name.ljust(width)}  {printable(value)}\n" for name, value in lines))
    return Exit.DONE


def _lines(stream: StreamDescription) -> list[tuple[str, str]]:
    at = stream.at
    lines = [("stream", stream.stream_id), ("status", _status(stream))]
    lines += [("why" if n == 0 else "", cause.message) for n, cause in enumerate(stream.causes)]
    lines.append(("last piece", _ago(stream.last_piece_at, at) or "none so far"))
    if stream.worker is not None:
        lines += _worker(stream.worker, at, ended=stream.status.ended)
    if not stream.status.ended:
        lines.append(("readers", _readers(stream.readers)))
    if stream.due is not None:
        lines.append(("due", f"in {_span(stream.due.at - at)}: {stream.due.action}"))
    messages = "message" if stream.messages == 1 else "messages"
    lines.append(("size", f"{size_text(stream.size)} in {stream.messages} {messages}"))
    if stream.rates is not None:
        rates = stream.rates
        lines.append(
            ("last minute", f"{rates.messages_s:.1f} messages/s, {size_text(int(rates.bytes_s))}/s")
        )
    lines += _times(stream)
    for name, value in (("owner", stream.owner), ("group", stream.group)):
        if value is not None:
            lines.append((name, value))
    return lines


def _status(stream: StreamDescription) -> str:
    end = stream.end or End(stream.status)
    code = "" if end.code is None else f" ({end.code})"
    return f"{stream.status}{code}, epoch {stream.epoch}, {stream.kind}"


def _worker(worker: WorkerDescription, at: float, *, ended: bool) -> Iterator[tuple[str, str]]:
    alive = {True: "alive", False: "dead", None: "unknown"}[worker.alive]
    since = "" if worker.started_at is None else f", started {_ago(worker.started_at, at)}"
    yield (
        "last writer" if ended else "writer",
        f"process {worker.pid or '?'} on {worker.host or '?'}{since}",
    )
    yield "", f"{alive}: {worker.evidence}"


def _readers(readers: ReaderCounts) -> str:
    count = readers.here + readers.elsewhere
    more = "" if readers.complete else ", perhaps more"
    behind = ""
    if readers.behind:
        behind = f"; {readers.behind} behind, the slowest for {_span(readers.behind_s)}"
    return f"{count}{more}{behind}"


def _times(stream: StreamDescription) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("created", stream.created_at),
        ("claimed", stream.started_at),
        ("ended", stream.ended_at),
    ):
        if value is not None:
            yield name, f"{_ago(value, stream.at)}, {time.strftime('%F %T', time.localtime(value))}"


def _ago(moment: float | None, at: float) -> str:
    return "" if moment is None else f"{_span(at - moment)} ago"


def _span(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s" if seconds < 60 else age_text(seconds)
