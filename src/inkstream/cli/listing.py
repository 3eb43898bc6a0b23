"""`inkstream ls`: list streams."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable

import click

from inkstream._types import Status, StreamState
from inkstream.cli.database import database_option, json_option, open_store, run, wait_option
from inkstream.cli.exits import EPILOG, Exit, say
from inkstream.cli.names import names_option
from inkstream.cli.output import (
    age_text,
    is_terminal,
    printable,
    size_text,
    state_object,
    write_json,
    write_text,
)

_PAGE = 200
_COLOURS = {"streaming": "blue", "open": "blue", "error": "red", "timeout": "red"}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])", re.ASCII)


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time like 90s, 15m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


@click.command("ls", epilog=EPILOG)
@names_option("Only streams of this {}.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in Status]),
    help="Only streams with this status.",
)
@click.option(
    "--newer-than",
    callback=_seconds,
    metavar="TIME",
    help="Only streams created within this time, such as 15m or 7d.",
)
@click.option(
    "--older-than",
    callback=_seconds,
    metavar="TIME",
    help="Only streams created longer ago than this time, such as 7d.",
)
@click.option(
    "--larger-than",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="Only streams with more text than this.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="The largest number of streams to list.",
)
@click.option("--all", "everything", is_flag=True, help="List all streams, ignoring --limit.")
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=2.0,
    metavar="SECONDS",
    help="Repeat the list, every 2 seconds by default, until Ctrl-C.",
)
@click.option("--cursor", help="Continue after the page that ended with this cursor.")
@database_option
@wait_option
@json_option
def command(
    owner: str | None,
    group: str | None,
    status: str | None,
    newer_than: float | None,
    older_than: float | None,
    larger_than: int | None,
    limit: int,
    everything: bool,
    watch: float | None,
    cursor: str | None,
    database: str,
    as_json: bool,
) -> None:
    """List streams, newest first.

    The columns are the id, status, size and age, the owner and group, the time since the last
    message, and the code of the end.

    On a terminal, the command prints a table. In a pipe, it prints fields separated by tabs,
    without a heading. If there are more streams, it prints a cursor for --cursor to standard error
    (with --json, in a last line). With --watch, a terminal shows only the newest list. In a pipe,
    an empty line ends each list.
    """

    async def show() -> int:
        now = time.time()

        def wanted(state: StreamState) -> bool:
            age = now - state.created_at
            return (
                (newer_than is None or age <= newer_than)
                and (older_than is None or age > older_than)
                and (larger_than is None or state.size > larger_than)
            )

        # Streams come newest first. So after the first stream that is too old, the list ends.
        oldest = None if newer_than is None else now - newer_than
        most = None if everything else limit
        found, more = await _find(database, owner, group, status, cursor, most, wanted, oldest)
        if watch is not None and is_terminal(sys.stdout):
            click.clear()
        if as_json:
            for state in found:
                write_json(state_object(state))
            if more is not None:
                write_json({"cursor": more})
            return Exit.DONE
        rows = [_row(state, now) for state in found]
        if is_terminal(sys.stdout):
            _print_table(rows)
        else:
            write_text("".join("\t".join(row) + "\n" for row in rows))
        if more is not None:
            say(f"there are more: --cursor {more}, or --all")
        return Exit.DONE

    async def show_again_and_again(seconds: float) -> int:
        while True:
            await show()
            if not is_terminal(sys.stdout):
                write_text("\n")
            await asyncio.sleep(seconds)

    run(show() if watch is None else show_again_and_again(watch))


async def _find(
    database: str,
    owner: str | None,
    group: str | None,
    status: str | None,
    cursor: str | None,
    limit: int | None,
    wanted: Callable[[StreamState], bool],
    oldest: float | None,
) -> tuple[list[StreamState], str | None]:
    """Return the wanted streams, and a cursor for the next page if the limit left out streams."""
    from inkstream.facade.calls import listing

    found: list[StreamState] = []
    async with open_store(database) as store:
        while True:
            try:
                page = await listing(
                    store.find, owner=owner, group=group, status=status, cursor=cursor, limit=_PAGE
                )
            except ValueError as exc:
                raise click.UsageError(str(exc)) from exc
            for state in page.streams:
                if oldest is not None and state.created_at < oldest:
                    return found, None
                if not wanted(state):
                    continue
                if limit is not None and len(found) == limit:
                    return found, str(found[-1].internal_id)
                found.append(state)
            cursor = page.cursor
            if cursor is None:
                return found, None


def _row(state: StreamState, now: float) -> tuple[str, ...]:
    return (
        state.stream_id,
        state.status.value,
        size_text(state.size) if is_terminal(sys.stdout) else str(state.size),
        age_text(now - state.created_at),
        printable(state.owner or "-"),
        printable(state.group or "-"),
        _silence(state, now),
        printable(state.code or "-"),
    )


def _silence(state: StreamState, now: float) -> str:
    if state.ended or state.appended_at is None:
        return "-"
    return age_text(now - state.appended_at)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    table = [("ID", "STATUS", "SIZE", "AGE", "OWNER", "GROUP", "SILENT", "CODE"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [
            cell.rjust(width) if heading in ("SIZE", "AGE", "SILENT") else cell.ljust(width)
            for cell, width, heading in zip(row, widths, table[0], strict=True)
        ]
        line = "  ".join(cells).rstrip()
        colour = None if "NO_COLOR" in os.environ else _COLOURS.get(row[1])
        write_text((line if colour is None else click.style(line, fg=colour)) + "\n")
