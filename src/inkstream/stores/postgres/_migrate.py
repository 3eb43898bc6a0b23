"""Migrations change a database's schema, and only when an operator runs them.

``schema/`` is the current schema. ``migrations/`` has the steps that lead to the current schema:
one file per version. Each file runs in its own transaction. A file may have a line
``-- needs: N``. After this migration, only releases of inkstream that know version N or a later
version can use the database. A migration that only adds (new tables, columns with defaults, new
functions) does not change N. A migration raises N if it removes something that older releases use.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from inkstream._errors import SchemaOutdated, StoreError
from inkstream.stores.postgres._address import SCHEMA, Address, in_schema, schema_name
from inkstream.stores.postgres._connections import ANSWER_S, connect
from inkstream.stores.postgres._faults import DRIVER_ERRORS, translate, unreachable
from inkstream.stores.postgres._lock_holders import SAY_AFTER_S, LockHolders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PACKAGE: Final = "inkstream.stores.postgres"
_FILE = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_NEEDS = re.compile(r"-- needs: ([0-9]+)$", re.MULTILINE)
_CLOSE_S: Final = 10.0
_OLDEST: Final = 16
"""The oldest major version of PostgreSQL that the tests run on."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        version: The number of the step. The numbers are consecutive and begin with 1.
        needs: After the step, only a release that knows this schema version or a later version can
            use the database.
        sql: The statements of the step, for the schema ``inkstream``.
    """

    version: int
    name: str
    needs: int
    sql: str

    @property
    def label(self) -> str:
        """The migration's number and name, as in its file name."""
        return f"{self.version:04d}_{self.name}"

    @property
    def digest(self) -> str:
        """A digest of the migration's SQL, without comment lines and line breaks."""
        return hashlib.sha256(_without_comments(self.sql).encode()).hexdigest()[:32]

    def in_schema(self, schema: str) -> str:
        """Return the SQL and an INSERT that records the migration. Run both in one transaction."""
        note = (
            f"INSERT INTO {schema}.migrations (version, name, needs, digest)\n"
            f"VALUES ({self.version}, '{self.name}', {self.needs}, '{self.digest}');"
        )
        return f"{in_schema(self.sql, schema).rstrip()}\n\n{note}\n"


def migrations() -> tuple[Migration, ...]:
    """Return all migrations, oldest first."""
    found: list[Migration] = []
    for file in files(_PACKAGE).joinpath("migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            text = file.read_text("utf-8")
            needs = _NEEDS.search(text)
            found.append(
                Migration(int(match[1]), match[2], 1 if needs is None else int(needs[1]), text)
            )
    return tuple(sorted(found, key=lambda migration: migration.version))


def foreign_steps(digests: Mapping[int, str | None]) -> list[str]:
    """Return the migrations whose recorded digest differs from the digest of this library's SQL."""
    return [
        step.label
        for step in migrations()
        if step.version in digests and digests[step.version] != step.digest
    ]


def way_out(steps: Sequence[str], schema: str, migrate: str) -> str:
    """Return advice about migrations that were applied with SQL unlike this library's."""
    return (
        f"{', '.join(steps)} of the schema {schema} was applied by another version of inkstream, "
        "with other SQL under the same name, as development versions do. Use that version, or "
        f"begin again: save what you need (the view {schema}.stream_text has all text), then DROP "
        f"SCHEMA {schema} CASCADE, then {migrate}. inkstream verify lists the differences"
    )


VERSION: Final = 1
"""The schema version that this library works with. The library knows no later version."""


def schema_sql(schema: str = SCHEMA) -> str:
    """Return the whole current schema."""
    parts = files(_PACKAGE).joinpath("schema").iterdir()
    texts = {part.name: part.read_text("utf-8") for part in parts if part.name.endswith(".sql")}
    return in_schema("\n".join(texts[name] for name in sorted(texts)), schema)


def sql(*, schema: str = SCHEMA, after: int = 0) -> str:
    """Return the migrations after version ``after`` as one script, for Alembic, Flyway or a person.

    In the script, each migration has its own transaction, which also records the migration.
    """
    schema = schema_name(schema)
    steps = [step for step in migrations() if step.version > after]
    return "\n".join(
        f"-- {step.version}: {step.name}\n\nBEGIN;\n\n{step.in_schema(schema)}\nCOMMIT;\n"
        for step in steps
    )


def migrate_hint(address: Address | None) -> str:
    """Return advice about a schema that is too old."""
    return f"run: inkstream migrate --database {address or 'postgresql://…'}"


async def migrate(url: object, *, schema: str | None = None) -> list[str]:
    """Update a database's schema; return the names of the migrations that were applied.

    Several calls at the same time wait for each other. After an interruption, each migration is
    either complete or absent.

    Raises:
        SchemaOutdated: A migration was applied with SQL that differs from this library's.
        StoreUnavailable: The database cannot be reached.
        StoreError: The role lacks a privilege, the database's encoding is not UTF8, or the server
            is older than PostgreSQL 16.
        ValueError: The URL or the schema's name cannot be used.
    """
    address = Address.parse(url)
    schema = schema_name(schema or address.schema)
    applied: list[str] = []
    async with connected(address) as connection:
        server = connection.get_server_version()
        if server.major < _OLDEST:
            raise StoreError(
                f"the server is PostgreSQL {server.major}; inkstream needs {_OLDEST} or later"
            )
        encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise StoreError(f"the database's encoding is {encoding}; inkstream needs UTF8")
        for step in await asyncio.to_thread(migrations):
            async with connection.transaction():
                await connection.execute(
                    f"SELECT pg_advisory_xact_lock(hashtextextended('{schema} migrate', 0))"
                )
                digests = await _digests(connection, schema)
                foreign = await asyncio.to_thread(foreign_steps, digests)
                if foreign:
                    raise SchemaOutdated(way_out(foreign, schema, migrate_hint(address)))
                if step.version > max(digests, default=0):
                    await connection.execute(step.in_schema(schema))
                    applied.append(step.label)
    return applied


async def migrations_missing(connection: asyncpg.Connection[Any], schema: str) -> list[str]:
    """Return the reasons why this library cannot use a schema; an empty list if it can."""
    if not await connection.fetchval(
        "SELECT coalesce(has_schema_privilege(to_regnamespace($1), 'USAGE'), true)", schema
    ):
        return [f"the role may not look into the schema {schema}"]
    digests = await _digests(connection, schema)
    version = max(digests, default=0)
    if version < VERSION:
        return [f"the schema {schema} is at version {version}, this library needs {VERSION}"]
    foreign = await asyncio.to_thread(foreign_steps, digests)
    return [f"applied with other SQL: {step}" for step in foreign]


async def verify(url: object, *, schema: str | None = None) -> list[str]:
    """Compare a database's schema with this library's; return the differences.

    The database role needs the right to create schemas, because the function builds the library's
    schema in a transaction that is rolled back.

    Raises:
        SchemaOutdated: A migration is missing.
        StoreUnavailable: The database cannot be reached.
        StoreError: The role lacks a privilege.
        ValueError: The URL or the schema's name cannot be used.
    """
    address = Address.parse(url)
    schema = schema_name(schema or address.schema)
    scratch = schema_name(f"{schema[:48]}_verify")
    async with connected(address) as connection:
        digests = await _digests(connection, schema)
        version = max(digests, default=0)
        if version < VERSION:
            raise SchemaOutdated(
                f"the schema {schema} is at version {version}, this library needs {VERSION}: "
                f"{migrate_hint(address)}"
            )
        transaction = connection.transaction()
        await transaction.start()
        try:
            await limit_waits(connection)
            await connection.execute(f"CREATE SCHEMA {scratch}")
            await connection.execute(await asyncio.to_thread(schema_sql, scratch))
            wanted = await _catalogue(connection, scratch, schema)
            present = await _catalogue(connection, schema, schema)
        finally:
            await transaction.rollback()
    foreign = [
        f"applied with other SQL: {step}"
        for step in await asyncio.to_thread(foreign_steps, digests)
    ]
    missing = [f"missing: {name}" for name in sorted(wanted.keys() - present.keys())]
    changed = [
        f"different: {name}"
        for name in sorted(wanted.keys() & present.keys())
        if wanted[name] != present[name]
    ]
    return foreign + missing + changed


_CATALOGUE = """
SELECT 'column ' || c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
    || a.attnotnull || a.attstorage::text || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'v')
UNION ALL
SELECT c.relkind::text || ' ' || c.relname, c.relpersistence::text || coalesce(
    CASE c.relkind WHEN 'i' THEN pg_get_indexdef(c.oid) WHEN 'v' THEN pg_get_viewdef(c.oid) END, '')
FROM pg_class c WHERE c.relnamespace = to_regnamespace($1)
UNION ALL
SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
    pg_get_functiondef(p.oid)
FROM pg_proc p WHERE p.pronamespace = to_regnamespace($1)
UNION ALL
SELECT 'constraint ' || o.conname, pg_get_constraintdef(o.oid)
FROM pg_constraint o WHERE o.connamespace = to_regnamespace($1)
"""


async def _catalogue(
    connection: asyncpg.Connection[Any], schema: str, named: str
) -> dict[str, str]:
    """Return all objects of a schema by name, with the schema's own name replaced by ``named``.

    ``named`` may differ from ``schema`` only for a scratch schema. The name of an application's
    schema may be a word that also occurs as an alias, and the function would replace this word
    too.
    """
    own = re.compile(rf"\b{schema}\b")
    rows: Sequence[Sequence[str]] = await connection.fetch(_CATALOGUE, schema)
    return {own.sub(named, name): _without_comments(own.sub(named, text)) for name, text in rows}


def _without_comments(sql: str) -> str:
    """Return SQL as one line, without the lines that are comments.

    Otherwise a later version of inkstream could not correct a comment: every database with the
    older comment would count as changed.
    """
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    return " ".join(" ".join(lines).split())


async def _digests(connection: asyncpg.Connection[Any], schema: str) -> dict[int, str | None]:
    """Return each applied migration's digest, or ``None`` if a development version applied it."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is None:
        return {}
    rows = await connection.fetch(
        f"SELECT m.version, to_jsonb(m) ->> 'digest' FROM {schema}.migrations m", timeout=ANSWER_S
    )
    return {int(version): digest for version, digest in rows}


async def limit_waits(connection: asyncpg.Connection[Any]) -> None:
    """Let no statement of the current transaction wait long for a lock."""
    await connection.execute(f"SET LOCAL lock_timeout = '{ANSWER_S:.0f}s'")


async def _find_holders(
    address: Address, waiting: asyncpg.Connection[Any], found: list[str | None]
) -> None:
    """Every few seconds, put into ``found`` who holds the lock for which ``waiting`` waits."""
    holders, pause_s = LockHolders(), SAY_AFTER_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, ANSWER_S / 3)
        with suppress(*DRIVER_ERRORS):
            asking = await connect(address)
            try:
                found[0] = await holders.find(asking, waiting)
            finally:
                asking.terminate()


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Connect for a command, and convert the driver's errors to inkstream's."""
    try:
        connection = await connect(address)
    except DRIVER_ERRORS as exc:
        raise unreachable(exc, migrate_hint(address)) from exc
    holders: list[str | None] = [None]
    asking = asyncio.create_task(_find_holders(address, connection, holders))
    try:
        try:
            yield connection
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            await connection.close(timeout=_CLOSE_S)
    except DRIVER_ERRORS as exc:
        hint = migrate_hint(address)
        error = translate(exc, writing=False, migrate=hint, holder=holders[0])
        if error is exc:
            raise
        raise error from exc
