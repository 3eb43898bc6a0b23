"""The option `--database`, and functions that open the database of a command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from inkstream.cli.exits import errors_become_exits

if TYPE_CHECKING:
    from inkstream.abc import Notifier, Store
    from inkstream.facade.streaming import PersistentTextStreaming

F = TypeVar("F", bound=Callable[..., Any])

_WAIT: Final = "inkstream.wait_s"


def _check(context: click.Context, parameter: click.Parameter, value: str) -> str:
    check_database(value)
    return value


def check_database(value: str) -> None:
    """Raise a usage error if the value is not the URL of a database."""
    from inkstream.facade.databases import open_database

    try:
        open_database(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


def database_option(command: F) -> F:
    """Add the option `--database`."""
    from inkstream.facade.databases import DEFAULT_DATABASE

    return click.option(
        "--database",
        metavar="URL",
        envvar="INKSTREAM_DATABASE",
        default=DEFAULT_DATABASE,
        show_default=True,
        show_envvar=True,
        callback=_check,
        help="The database of the streams.",
    )(command)


def wait_option(command: F) -> F:
    """Add the option `--wait`, which `open_streams` and `open_store` read from click's context."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0.1),
        metavar="SECONDS",
        help="How long to wait for the database (SQLite: 10 s, PostgreSQL: 30 s).",
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({_WAIT: value}),
    )(command)


def _open(database: str) -> tuple[Store, Notifier]:
    from inkstream.facade.databases import open_database

    return open_database(database, wait_s=click.get_current_context().meta.get(_WAIT))


def json_option(command: F) -> F:
    """Add the option `--json`, for output of one JSON object per line."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for programs, one object per line."
    )(command)


def run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command's work on an event loop, and exit with the code that the work returns."""
    logging.basicConfig(level=logging.WARNING, format="inkstream: %(message)s")
    with errors_become_exits():
        code = asyncio.run(work)
    raise SystemExit(int(code))


@contextlib.asynccontextmanager
async def open_streams(
    database: str, *, create: bool = False
) -> AsyncIterator[PersistentTextStreaming]:
    """Open the database of a command.

    Args:
        database: The URL of the database.
        create: Whether to create an absent SQLite file and its tables. If false, a file that is
            absent or has no inkstream tables is an error, because its name may be mistyped.

    Raises:
        StoreUnavailable: The database cannot be opened.
        SchemaOutdated: The tables of the database are of another version.
    """
    from inkstream.facade.streaming import PersistentTextStreaming

    await _check_existence(database, create=create)
    async with PersistentTextStreaming(_open(database)) as streams:
        yield streams


@contextlib.asynccontextmanager
async def open_store(database: str, *, create: bool = False) -> AsyncIterator[Store]:
    """Open a database without an engine, so that no stream is swept, ended or tidied.

    For ``create``, see ``open_streams``.

    Raises:
        StoreUnavailable: The database cannot be opened.
        SchemaOutdated: The tables of the database are of another version.
    """
    from inkstream.engine.identity import new_worker

    await _check_existence(database, create=create)
    store, _ = _open(database)
    await store.open(new_worker())
    try:
        yield store
    finally:
        await store.close()


async def try_database(database: str) -> None:
    """Open a server's database once, so that an error is printed before the server's address."""
    from inkstream.facade.streaming import PersistentTextStreaming

    async with PersistentTextStreaming(database):
        pass


async def _check_existence(database: str, *, create: bool) -> None:
    from inkstream._errors import StoreUnavailable

    if database.startswith("memory:"):
        raise click.UsageError("memory:// exists only inside one process: name another database")
    if database.startswith("sqlite:") and not create:
        try:
            await asyncio.to_thread(_check_tables, database)
        except OSError as exc:  # this user may not look into the directory
            raise StoreUnavailable(str(exc)) from exc


def _check_tables(database: str) -> None:
    from inkstream._errors import StoreUnavailable
    from inkstream.stores import sqlite

    path, _ = sqlite.file_and_companions(database)
    if not path.exists():
        raise StoreUnavailable(f"there is no database {path}")
    why = sqlite.why_unsuitable(path)
    if why is not None:
        raise StoreUnavailable(why)
    if not sqlite.has_tables(path):
        raise StoreUnavailable(f"{path} has no inkstream tables: is it the right file?")
