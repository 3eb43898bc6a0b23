"""Streams in PostgreSQL: the store for more than one machine.

``_store`` is the class; ``_connections`` and ``_session`` how it is connected, ``_foreign`` how it
takes part in an application's transaction; ``_rows`` what goes in and out of the functions of the
schema (``schema/``, called from ``queries.sql``); ``_locks`` how a worker's death differs from a
lost connection; ``_migrate`` what ``inkstream migrate``, ``verify`` and ``sql`` do, and
``_check`` whether the streams are whole.
"""

try:
    import asyncpg as _asyncpg  # noqa: F401
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "PostgreSQL needs the driver asyncpg: pip install 'inkstream[postgres]'", name=exc.name
    ) from exc

from inkstream.stores.postgres._address import Address
from inkstream.stores.postgres._check import check_streams
from inkstream.stores.postgres._migrate import (
    connected,
    migrate,
    migrations_missing,
    sql,
    verify,
)
from inkstream.stores.postgres._store import PostgresStore

__all__ = [
    "Address",
    "PostgresStore",
    "check_streams",
    "connected",
    "migrate",
    "migrations_missing",
    "sql",
    "verify",
]
