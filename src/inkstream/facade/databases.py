"""From the URL of a database to its store and its notifier."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from inkstream.abc import Notifier, Store

DEFAULT_DATABASE = "sqlite:///inkstream.db"


def open_database(database: Any) -> tuple[Store, Notifier]:
    """Return the store and the notifier for a database, neither of them open yet.

    Args:
        database: ``sqlite:///file.db`` (relative) or ``sqlite:////file.db`` (absolute),
            ``postgresql://…`` (also ``postgres://``, ``postgresql+asyncpg://``), ``memory://``, an
            ``asyncpg`` pool, or an SQLAlchemy engine for PostgreSQL; or a store and a notifier.

    Raises:
        ValueError: No such kind of database.
        TypeError: None of these.
        ModuleNotFoundError: An extra is missing; the message names it.
    """
    if isinstance(database, tuple):
        return _of_your_own(database)
    if isinstance(database, os.PathLike):
        raise ValueError(f"give a file as a URL: sqlite:///{os.fspath(database)}")
    if not isinstance(database, str) and not (_is_pool(database) or _is_engine(database)):
        raise TypeError(
            "a database is a URL, an asyncpg pool, an SQLAlchemy engine, or a pair of Store and "
            f"Notifier, not {type(database).__name__}"
        )
    scheme = urlsplit(database).scheme if isinstance(database, str) else "postgresql"
    if scheme == "sqlite":
        from inkstream.notifiers.sqlite import SQLiteNotifier
        from inkstream.stores.sqlite import SQLiteStore

        sqlite = SQLiteStore(database)
        return sqlite, SQLiteNotifier(sqlite)
    if scheme == "memory":
        from inkstream.notifiers.local import LocalNotifier
        from inkstream.stores.memory import MemoryStore

        memory = MemoryStore()
        return memory, LocalNotifier(f"memory-{id(memory.database)}")
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        return _open_postgres(database)
    raise ValueError(
        f"{database!r} is not the URL of a database that inkstream knows: use "
        "sqlite:///inkstream.db, postgresql://user@host/name, or memory://"
    )


def name_of(database: Any) -> str:
    """Return a database's address for people: no user, password or parameters."""
    if not isinstance(database, str):
        return type(database).__name__
    parts = urlsplit(database)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _of_your_own(pair: tuple[Any, ...]) -> tuple[Store, Notifier]:
    if len(pair) != 2 or not (hasattr(pair[0], "commit") and hasattr(pair[1], "notify")):
        raise TypeError(f"a database of your own is a pair of Store and Notifier, not {pair!r:.80}")
    return pair[0], pair[1]


def _is_pool(database: object) -> bool:
    return hasattr(database, "acquire")


def _is_engine(database: object) -> bool:
    return hasattr(getattr(database, "url", None), "render_as_string")


def _open_postgres(database: Any) -> tuple[Store, Notifier]:
    try:
        from inkstream.notifiers.postgres import PostgresNotifier
        from inkstream.stores.postgres import PostgresStore
    except ModuleNotFoundError as exc:
        if exc.name != "asyncpg":
            raise
        raise ModuleNotFoundError(
            "PostgreSQL needs asyncpg: pip install 'inkstream[postgres]'", name="asyncpg"
        ) from exc
    postgres = PostgresStore(database)
    return postgres, PostgresNotifier(postgres)
