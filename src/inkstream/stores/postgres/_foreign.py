"""Runs statements on an application's own connection, as part of the application's transaction.

A statement for an SQLAlchemy session is executed with the session, and not directly on the driver's
connection. A session that has executed nothing yet has no transaction on that connection, so a
statement sent directly would not be rolled back.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from inkstream.stores.postgres._faults import sqlstate, translate

_PARAMETER = re.compile(r"\$(\d+)")


async def fetch(
    connection: object, sql: str, args: Sequence[object], migrate: str
) -> Sequence[Sequence[Any]]:
    """Execute a statement with ``$1`` parameters; return its rows.

    Raises:
        TypeError: The connection is not one of asyncpg, psycopg 3, SQLAlchemy 2 or Django, or it is
            connected to another kind of database.
    """
    try:
        if _is_of(connection, "asyncpg"):
            return await _through_asyncpg(connection, sql, args)
        if _is_of(connection, "psycopg"):
            return await _through_psycopg(connection, sql, args)
        if _is_of(connection, "sqlalchemy"):
            return await _through_sqlalchemy(connection, sql, args)
        if _is_of(connection, "django"):
            return _through_django(connection, sql, args)
    except Exception as exc:
        if sqlstate(exc) is None and not isinstance(exc, asyncpg.InterfaceError | OSError):
            raise
        error = translate(exc, writing=False, migrate=migrate)
        if error is exc:
            raise
        raise error from exc
    raise TypeError(
        "a PostgreSQL store takes part in transactions of asyncpg, psycopg 3, SQLAlchemy 2 and "
        f"Django connections and sessions, not of {type(connection).__module__}."
        f"{type(connection).__qualname__}"
    )


def _is_of(connection: object, package: str) -> bool:
    """Return whether an object's class is from a package, without importing the package."""
    return any(cls.__module__.partition(".")[0] == package for cls in type(connection).__mro__)


async def _through_asyncpg(
    connection: Any, sql: str, args: Sequence[object]
) -> Sequence[Sequence[Any]]:
    if not isinstance(connection, asyncpg.Connection | PoolConnectionProxy):
        raise TypeError("give an asyncpg connection (of a pool: one that was acquired)")
    rows: Sequence[Sequence[Any]] = await connection.fetch(sql, *args)
    return rows


async def _through_psycopg(
    connection: Any, sql: str, args: Sequence[object]
) -> Sequence[Sequence[Any]]:
    import psycopg
    from psycopg.rows import tuple_row

    if isinstance(connection, psycopg.AsyncConnection):
        async with psycopg.AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode(), args)
            return await cursor.fetchall()
    if isinstance(connection, psycopg.Connection):
        with psycopg.RawCursor(connection, row_factory=tuple_row) as blocking:
            blocking.execute(sql.encode(), args)
            return blocking.fetchall()
    raise TypeError("give a psycopg connection, not one of its other objects")


async def _through_sqlalchemy(
    connection: Any, sql: str, args: Sequence[object]
) -> Sequence[Sequence[Any]]:
    from sqlalchemy import text

    get_bind = getattr(connection, "get_bind", None)
    dialect = getattr(connection if get_bind is None else get_bind(), "dialect", None)
    if getattr(dialect, "name", None) != "postgresql" or not hasattr(connection, "execute"):
        raise TypeError("give an SQLAlchemy connection or session of a PostgreSQL database")
    statement = text(_PARAMETER.sub(r":p\1", sql))
    result = connection.execute(statement, {f"p{n}": arg for n, arg in enumerate(args, 1)})
    if inspect.isawaitable(result):
        result = await result
    rows: Sequence[Sequence[Any]] = result.fetchall()
    return rows


def _through_django(connection: Any, sql: str, args: Sequence[object]) -> Sequence[Sequence[Any]]:
    if getattr(connection, "vendor", None) != "postgresql" or not hasattr(connection, "cursor"):
        raise TypeError("give a Django connection of a PostgreSQL database")
    order = [int(number) for number in _PARAMETER.findall(sql)]
    with connection.cursor() as cursor:
        statement = _PARAMETER.sub("%s", sql.replace("%", "%%"))
        cursor.execute(statement, [args[number - 1] for number in order])
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
    return rows
