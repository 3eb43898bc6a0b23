"""Streams in a SQLite file: the default store, for one machine with any number of processes.

``_store`` is the class; ``_threads`` who runs what; ``_write``, ``_read`` and ``_tidy`` what is
said to the database, with its SQL in ``queries.sql`` and ``schema.sql``; ``_locks`` what a dead
process lets go of; ``_connection`` and ``_faults`` the driver's settings and errors.
"""

from inkstream.stores.sqlite._store import SQLiteStore

__all__ = ["SQLiteStore"]
