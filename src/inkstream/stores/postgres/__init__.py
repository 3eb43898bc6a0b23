"""Streams in PostgreSQL: the store for more than one machine.

``_connections`` and ``_session`` connect to the server. ``_foreign`` runs statements in an
application's transaction. ``_rows`` converts values for the functions of the schema (``schema/``,
called from ``queries.sql``). ``_locks`` distinguishes a dead worker from a worker that lost its
connection.
"""

try:
    import asyncpg as _asyncpg  # noqa: F401
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "PostgreSQL needs the driver asyncpg: pip install 'inkstream[postgres]'", name=exc.name
    ) from exc

from inkstream.stores.postgres._address import Address
from inkstream.stores.postgres._check import check_streams
from inkstream.stores.postgres._migrate import connected, migrate, migrations_missing, sql, verify
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
