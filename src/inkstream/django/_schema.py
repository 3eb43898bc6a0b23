"""Run inkstream's PostgreSQL migrations on Django's connection, in Django's transaction."""

from __future__ import annotations

from typing import Any

from inkstream._errors import SchemaOutdated
from inkstream.django._streams import alias


def apply(editor: Any, version: int) -> None:
    """Apply a migration once, if ``editor`` is connected to the streams' PostgreSQL database.

    Raises:
        SchemaOutdated: An applied migration has other SQL than this library's migration.
    """
    if not _is_ours(editor):
        return
    # Not at the top of the module, because a project with SQLite may have no asyncpg.
    from inkstream.stores.postgres import _migrate

    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('inkstream migrate', 0))")
        cursor.execute("SELECT to_regclass('inkstream.migrations')")
        digests: dict[int, str | None] = {}
        if cursor.fetchone()[0] is not None:
            cursor.execute("SELECT version, digest FROM inkstream.migrations")
            digests = dict(cursor.fetchall())
        foreign = _migrate.foreign_steps(digests)
        if foreign:
            way_out = _migrate.way_out(foreign, "inkstream", "manage.py migrate")
            raise SchemaOutdated(way_out)
        for step in _migrate.migrations():
            if step.version == version and version not in digests:
                cursor.execute(step.in_schema("inkstream"))


def drop(editor: Any) -> None:
    """Drop the schema with all streams, for ``manage.py migrate inkstream zero``."""
    if _is_ours(editor):
        with editor.connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS inkstream CASCADE")


def _is_ours(editor: Any) -> bool:
    return bool(editor.connection.vendor == "postgresql" and editor.connection.alias == alias())
