"""Streams in a SQLite file: the default store, for any number of processes on one machine.

``_threads`` starts and ends the thread that writes (``_write_thread``) and the threads that read
(``_read_threads``). The event loop sends calls to these threads as ``_jobs``. ``_write``, ``_read``
and ``_tidy`` use the SQL of ``queries.sql`` and ``schema.sql``. ``_locks`` has the locks that a
dead process releases. ``_forks`` closes connections before the process forks.
"""

from inkstream.stores.sqlite._check import check_streams
from inkstream.stores.sqlite._facts import (
    FileFacts,
    facts_of,
    file_and_companions,
    has_tables,
    why_unsuitable,
)
from inkstream.stores.sqlite._store import SQLiteStore

__all__ = [
    "FileFacts",
    "SQLiteStore",
    "check_streams",
    "facts_of",
    "file_and_companions",
    "has_tables",
    "why_unsuitable",
]
