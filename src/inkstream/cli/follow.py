"""`inkstream follow` and `inkstream cat`: print a stream as it grows, or as it is now."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from inkstream._errors import StreamNotFound
from inkstream._types import End, Status, StreamId
from inkstream.cli.database import (
    database_option,
    json_option,
    open_store,
    open_streams,
    run,
    wait_option,
)
from inkstream.cli.exits import EPILOG, Exit, exit_of, say
from inkstream.cli.output import is_terminal, printable, write_json, write_text
from inkstream.wire import end_object


@click.command("follow", epilog=EPILOG)
@click.argument("stream_id", metavar="ID")
@click.option("--offset", metavar="OFFSET", help="Continue from this offset, which --json printed.")
@database_option
@wait_option
@json_option
def follow(stream_id: str, offset: str | None, database: str, as_json: bool) -> None:
    """Print a stream's text as it arrives, until its end.

    Any process may write the stream. If the database becomes unavailable meanwhile, this command
    waits for the database and continues. Without --json, JSON objects in the stream are left out.
    With --json, the command prints {"text": …} for a piece of text, {"object": …} for an object,
    and {"end": …} last. Each line contains its "offset". To continue after a line, pass the line's
    offset as --offset.
    """
    run(_follow(database, stream_id, offset, as_json))


async def _follow(database: str, stream_id: str, offset: str | None, as_json: bool) -> int:
    async with open_streams(database) as streams:
        following = streams.follow(stream_id, offset)
        async with contextlib.aclosing(following):
            async for item in following:
                if isinstance(item, End):
                    return _ended(item, following.offset, as_json)
                if as_json:
                    kind = "text" if isinstance(item, str) else "object"
                    write_json({kind: item, "offset": following.offset})
                elif isinstance(item, str):
                    write_text(item)
        raise StreamNotFound(stream_id)


def _ended(end: End, offset: str | None, as_json: bool) -> int:
    if as_json:
        write_json({"end": end_object(end), "offset": offset})
    elif end.status is not Status.DONE:
        reason = f" ({end.code})" if end.code else ""
        words = f": {end.message}" if end.message else ""
        if is_terminal(sys.stdout):
            write_text("\n")
        say(printable(f"the stream ended {end.status}{reason}{words}"))
    return exit_of(end.status)


@click.command("cat", epilog=EPILOG)
@click.argument("stream_ids", metavar="ID...", nargs=-1, required=True)
@database_option
@wait_option
@json_option
def cat(stream_ids: tuple[str, ...], database: str, as_json: bool) -> None:
    """Print the stored text of streams, live or finished.

    The exit code does not depend on how a stream ended. With --json, print one object for each
    stream, with the stream's text, its parts in order, and its end.
    """
    run(_cat(database, stream_ids, as_json))


async def _cat(database: str, stream_ids: tuple[str, ...], as_json: bool) -> int:
    from inkstream.engine.readers import read_whole, require_messages
    from inkstream.facade.handles import body_of

    async with open_store(database) as store:
        for name in stream_ids:
            stream_id = StreamId(name)
            require_messages((await store.read(stream_id, 0, 0)).state)
            body = body_of(await read_whole(store, stream_id))
            if not as_json:
                write_text(body.text)
                continue
            fields: dict[str, Any] = {
                "stream_id": body.stream_id,
                "status": body.status.value,
                "text": body.text,
                "parts": list(body.parts),
                "end": None if body.end is None else end_object(body.end),
                "metadata": dict(body.metadata),
                "owner": body.owner,
                "group": body.group,
                "created_at": body.created_at,
                "started_at": body.started_at,
                "ended_at": body.ended_at,
                "offset": body.offset,
            }
            write_json(fields)
    return Exit.DONE
