"""`inkstream cancel` and `inkstream rm`: stop streams, delete streams."""

from __future__ import annotations

import sys

import click

from inkstream._errors import StreamNotFound
from inkstream.cli.database import database_option, json_option, open_streams, run, wait_option
from inkstream.cli.exits import EPILOG, Exit, say
from inkstream.cli.names import names_option
from inkstream.cli.output import is_terminal, write_json


@click.command("cancel", epilog=EPILOG)
@click.argument("stream_ids", metavar="ID...", nargs=-1, required=True)
@database_option
@wait_option
@json_option
def cancel(stream_ids: tuple[str, ...], database: str, as_json: bool) -> None:
    """Stop streams of any process. The streams' text stays.

    For a stream that has already ended, the command changes nothing and exits with 0.
    """
    run(_cancel(database, stream_ids, as_json))


async def _cancel(database: str, stream_ids: tuple[str, ...], as_json: bool) -> int:
    code = Exit.DONE
    async with open_streams(database) as streams:
        for stream_id in stream_ids:
            try:
                cancelled = await streams.cancel(stream_id)
            except StreamNotFound as exc:
                say(str(exc))
                code = Exit.NOT_FOUND
                continue
            if as_json:
                write_json({"stream_id": stream_id, "cancelled": cancelled})
            elif not cancelled and is_terminal(sys.stderr):
                say(f"stream {stream_id!r} has already ended")
    return code


@click.command("rm", epilog=EPILOG)
@click.argument("stream_ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All streams of --owner, --group, or both.")
@names_option("Only streams of this {}.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@database_option
@wait_option
@json_option
def rm(
    stream_ids: tuple[str, ...],
    everything: bool,
    owner: str | None,
    group: str | None,
    yes: bool,
    database: str,
    as_json: bool,
) -> None:
    """Delete streams with their text, even live streams. On a terminal, ask for confirmation."""
    if everything == bool(stream_ids):
        raise click.UsageError("name the streams to delete, or --all with --owner or --group")
    if everything and owner is None and group is None:
        raise click.UsageError("--all needs --owner, --group, or both: whose streams?")
    if not yes and is_terminal(sys.stdin):
        whose = " and ".join(
            f"{what} {name!r}" for what, name in (("owner", owner), ("group", group)) if name
        )
        which = f"all streams of {whose}" if everything else ", ".join(stream_ids)
        if not click.confirm(f"Delete {which} permanently?", err=True):
            raise SystemExit(Exit.FAILED)
    run(_rm(database, stream_ids, owner, group, as_json))


async def _rm(
    database: str,
    stream_ids: tuple[str, ...],
    owner: str | None,
    group: str | None,
    as_json: bool,
) -> int:
    code = Exit.DONE
    async with open_streams(database) as streams:
        if not stream_ids:
            deleted = await streams.delete_all(owner=owner, group=group)
        else:
            deleted = 0
            for stream_id in stream_ids:
                if await streams.delete(stream_id, owner=owner, group=group):
                    deleted += 1
                else:
                    say(str(StreamNotFound(stream_id)))
                    code = Exit.NOT_FOUND
        if as_json:
            write_json({"deleted": deleted})
        elif is_terminal(sys.stderr):
            say(f"deleted {deleted}")
    return code
