"""Turn the URL of a database into its store and its notifier."""

from __future__ import annotations

import os
import re
from typing import Any

from inkstream.abc import Notifier, Store

DEFAULT_DATABASE = "sqlite:///inkstream.db"

_POSTGRES = ("postgresql", "postgres", "pgsql", "postgis")


def open_database(database: Any, *, wait_s: float | None = None) -> tuple[Store, Notifier]:
    """Return the store and the notifier of a database. Neither is open yet.

    Args:
        database: ``sqlite:///file.db`` (relative) or ``sqlite:////file.db`` (absolute),
            ``postgresql://…`` (also ``postgres://``, ``postgresql+asyncpg://``), ``memory://``, an
            ``asyncpg`` pool, or an SQLAlchemy engine for PostgreSQL; or a store and a notifier.
        wait_s: How long a call waits for a SQLite file or for PostgreSQL; the store's default if
            ``None``.

    Raises:
        ValueError: The URL has another form.
        TypeError: The value has another type.
        ModuleNotFoundError: An extra is missing; the message names the extra.
    """
    try:
        return _open(database, {} if wait_s is None else {"wait_s": wait_s})
    except (ImportError, TypeError, ValueError) as exc:
        del database  # a traceback may show this variable, which contains the password
        raise exc.with_traceback(None) from None


def _open(database: Any, wait: dict[str, Any]) -> tuple[Store, Notifier]:
    if isinstance(database, tuple):
        return _of_your_own(database)
    if isinstance(database, os.PathLike):
        raise ValueError(f"pass a file as a URL: sqlite:///{os.fspath(database)}")
    if not isinstance(database, str) and not (_is_pool(database) or _is_engine(database)):
        raise TypeError(
            "a database is a URL, an asyncpg pool, an SQLAlchemy engine, or a pair of Store and "
            f"Notifier, not {type(database).__name__}"
        )
    scheme = _scheme(database) if isinstance(database, str) else "postgresql"
    if scheme == "sqlite":
        from inkstream.notifiers.sqlite import SQLiteNotifier
        from inkstream.stores.sqlite import SQLiteStore

        sqlite = SQLiteStore(database, **wait)
        return sqlite, SQLiteNotifier(sqlite)
    if scheme == "memory":
        from inkstream.notifiers.local import LocalNotifier
        from inkstream.stores.memory import MemoryStore

        memory = MemoryStore()
        return memory, LocalNotifier(f"memory-{id(memory.database)}")
    if is_postgres(database):
        return _open_postgres(database, wait)
    raise ValueError(
        f"{f'{scheme}://' if scheme else 'this'} is not the URL of a database that inkstream "
        "knows: use sqlite:///inkstream.db, postgresql://user@host/name, or memory://"
    )


def is_postgres(database: Any) -> bool:
    """Return whether ``database`` is PostgreSQL."""
    if not isinstance(database, str):
        return _is_pool(database) or _is_engine(database)
    return _scheme(database).partition("+")[0] in _POSTGRES


def _scheme(database: str) -> str:
    """Return a URL's scheme, or an empty string for text such as ``user:password@host``."""
    scheme, colon, rest = database.partition(":")
    plain = colon and (rest.startswith("//") or scheme in ("sqlite", "memory"))
    return scheme if plain and re.fullmatch("[a-z0-9+.-]+", scheme, re.ASCII) else ""


def name_of(database: Any) -> str:
    """Return a database's address without user, password and parameters, for messages."""
    if not isinstance(database, str):
        return type(database).__name__
    scheme, _, rest = database.partition("://")
    # Split at the last @, because a password may contain an @ that is not encoded.
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _of_your_own(pair: tuple[Any, ...]) -> tuple[Store, Notifier]:
    if len(pair) != 2 or not (hasattr(pair[0], "commit") and hasattr(pair[1], "notify")):
        raise TypeError(f"a database of your own is a pair of Store and Notifier, not {pair!r:.80}")
    return pair[0], pair[1]


def _is_pool(database: object) -> bool:
    return hasattr(database, "acquire")


def _is_engine(database: object) -> bool:
    return hasattr(getattr(database, "url", None), "render_as_string")


def _open_postgres(database: Any, wait: dict[str, Any]) -> tuple[Store, Notifier]:
    # Check the engine before the import. Otherwise the error would ask an application on SQLite to
    # install asyncpg.
    if _is_engine(database) and not is_postgres(str(database.url)):
        raise ValueError(
            f"an SQLAlchemy engine must be PostgreSQL's, not {_scheme(str(database.url))}; give a "
            "SQLite file as a string: sqlite:///inkstream.db"
        )
    try:
        from inkstream.notifiers.postgres import PostgresNotifier
        from inkstream.stores.postgres import PostgresStore
    except ModuleNotFoundError as exc:
        if exc.name != "asyncpg":
            raise
        raise ModuleNotFoundError(
            "PostgreSQL needs asyncpg: pip install 'inkstream[postgres]'", name="asyncpg"
        ) from exc
    postgres = PostgresStore(database, **wait)
    return postgres, PostgresNotifier(postgres)
