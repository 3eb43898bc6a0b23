"""Check whether a PostgreSQL database meets inkstream's needs."""

from __future__ import annotations

import time
from typing import Any, Final

import asyncpg

from inkstream.operations.doctor.findings import Finding, Verdict, fine, unknown
from inkstream.stores.postgres import Address, connected, migrations_missing

_OLDEST: Final = 160000
_A_PROCESS: Final = 6
_CLOCKS_S: Final = 2.0
_SHORT_MS: Final = 5_000
_LONG_S: Final = 600
_DEAD_ROWS: Final = 20_000

_RIGHTS = """
SELECT t.name || ': ' || string_agg(p.name, ', ') AS missing
FROM unnest($2::text[]) AS t (name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
WHERE to_regclass($1 || '.' || t.name) IS NOT NULL
    AND NOT has_table_privilege(to_regclass($1 || '.' || t.name), p.name)
GROUP BY t.name ORDER BY t.name
"""
_WRITTEN: Final = (
    *("streams", "heads", "live", "segments", "marks"),
    *("workers", "worker_locks", "generation"),
)
_ROOM = """
SELECT current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int AS most,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
    (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS by_role
"""
_BLOAT = """
SELECT relname, n_live_tup AS alive, n_dead_tup AS dead FROM pg_stat_all_tables
WHERE schemaname = $1 AND n_dead_tup > $2 AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC
"""
_OLD_TRANSACTIONS = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float AS age_s
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < clock_timestamp() - $1 * interval '1 second'
ORDER BY xact_start LIMIT 1
"""

_IDLE_SLOTS = """
SELECT slot_name, coalesce(pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
    restart_lsn), 0)::float8 AS kept
FROM pg_replication_slots WHERE NOT active
"""


def _problem(check: str, message: str, mend: str) -> Finding:
    return Finding(check, Verdict.PROBLEM, message, {"PostgreSQL": mend})


async def examine(url: str) -> list[Finding]:
    """Return the findings about a database.

    Raises:
        StoreUnavailable: No connection is possible.
    """
    address = Address.parse(url)
    async with connected(address) as connection:
        return [
            await _version(connection),
            await _migrations(connection, address),
            await _writable(connection),
            await _pooler(connection, address),
            await _rights(connection, address),
            *await _settings(connection),
            await _room(connection),
            await _bloat(connection, address),
            await _old_transactions(connection),
            await _disk(connection),
            await _clock(connection),
        ]


async def _version(connection: asyncpg.Connection[Any]) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num"))
    name = await connection.fetchval("SHOW server_version")
    if number < _OLDEST:
        return _problem("version", f"PostgreSQL {name}; inkstream is tested from 16 on", "upgrade")
    return fine("version", f"PostgreSQL {name}")


async def _migrations(connection: asyncpg.Connection[Any], address: Address) -> Finding:
    missing = await migrations_missing(connection, address.schema)
    if missing:
        return _problem("migrations", "; ".join(missing), "inkstream migrate, as the owner")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        return _problem("migrations", f"the encoding is {encoding}", "use a database with UTF8")
    return fine("migrations", f"the tables in schema {address.schema} are as this version needs")


async def _writable(connection: asyncpg.Connection[Any]) -> Finding:
    standby = await connection.fetchval("SELECT pg_is_in_recovery()")
    if standby or await connection.fetchval("SHOW transaction_read_only") == "on":
        what = "a standby" if standby else "read-only by default for this role"
        mend = "a URL of the primary, or both hosts with target_session_attrs=read-write"
        return _problem("writable", f"it is {what}", mend)
    return fine("writable", "it takes writes")


async def _pooler(connection: asyncpg.Connection[Any], address: Address) -> Finding:
    # For cancel requests, a pooler gives its clients process ids that differ from the server's.
    between = connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()")
    if between and not address.pooler:
        mend = (
            "add pooler=1 to the URL if it pools transactions, and listener_url= with a direct URL"
        )
        return _problem("pooler", "a pooler answers, and the URL does not say so", mend)
    if not between and address.pooler:
        mend = "remove pooler=1 from the URL: it turns off hints and the quick detection of deaths"
        return _problem("pooler", "no pooler answers, although the URL has pooler=1", mend)
    if between and address.listener_url is None:
        message = "a pooler answers; without listener_url= other processes' text is up to 2 s late"
        return fine("pooler", message)
    return fine("pooler", "a pooler answers, as the URL says" if between else "none in between")


async def _rights(connection: asyncpg.Connection[Any], address: Address) -> Finding:
    schema, role = address.schema, await connection.fetchval("SELECT current_user")
    if await connection.fetchval("SELECT to_regnamespace($1)", schema) is None:
        return unknown("rights", f"there is no schema {schema} yet")
    if not await connection.fetchval("SELECT has_schema_privilege($1, 'USAGE')", schema):
        mend = f'GRANT USAGE ON SCHEMA {schema} TO "{role}"; and the rights in docs/postgres.md'
        return _problem("rights", f"{role} may not use schema {schema}", mend)
    rows = await connection.fetch(_RIGHTS, schema, list(_WRITTEN))
    if rows:
        missing = "; ".join(row["missing"] for row in rows)
        mend = f'GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.… TO "{role}"'
        return _problem("rights", f"{role} lacks: {missing}", mend)
    return fine("rights", f"{role} may read and write the tables")


async def _settings(connection: asyncpg.Connection[Any]) -> list[Finding]:
    found = []
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if await connection.fetchval("SELECT current_setting($1)", name) == "off":
            message = f"{name} is off: a power failure may lose text that users have seen"
            found.append(_problem("settings", message, f"{name} = on"))
    milliseconds = "SELECT setting::bigint FROM pg_settings WHERE name = $1"
    for name in ("statement_timeout", "lock_timeout", "transaction_timeout"):
        value = await connection.fetchval(milliseconds, name)
        if value and value < _SHORT_MS:
            message = f"{name} is {value} ms: a short overload becomes an outage"
            found.append(_problem("settings", message, f"{name} = 0, or 5s and more"))
    value = await connection.fetchval(milliseconds, "idle_session_timeout")
    if value:
        message = (
            f"idle_session_timeout is {value} ms: it ends the session that receives notifications"
        )
        found.append(_problem("settings", message, "ALTER ROLE … SET idle_session_timeout = 0"))
    return found or [fine("settings", "durable, with sufficient timeouts")]


async def _room(connection: asyncpg.Connection[Any]) -> Finding:
    row = await connection.fetchrow(_ROOM)
    assert row is not None
    left = row["most"] - row["used"]
    if row["role_limit"] >= 0:
        left = min(left, row["role_limit"] - row["by_role"])
    message = f"room for {left} more connections; a process takes up to {_A_PROCESS}"
    if left < _A_PROCESS:
        mend = "raise max_connections or the role's CONNECTION LIMIT, or put a pooler before it"
        return _problem("connections", message, mend)
    return fine("connections", message)


async def _bloat(connection: asyncpg.Connection[Any], address: Address) -> Finding:
    if await connection.fetchval("SHOW autovacuum") == "off":
        return _problem("bloat", "autovacuum is off: tables only grow", "autovacuum = on")
    rows = await connection.fetch(_BLOAT, address.schema, _DEAD_ROWS)
    if rows:
        tables = ", ".join(f"{row['relname']} ({row['dead']})" for row in rows)
        mend = "; ".join(f"VACUUM {address.schema}.{row['relname']}" for row in rows)
        return _problem("bloat", f"more dead rows than live ones in {tables}", mend)
    return fine("bloat", "no table has more dead rows than live ones")


async def _old_transactions(connection: asyncpg.Connection[Any]) -> Finding:
    row = await connection.fetchrow(_OLD_TRANSACTIONS, _LONG_S)
    if row is not None:
        message = (
            f"a transaction has been open for {row['age_s'] / 60:.0f} min: vacuum removes nothing"
        )
        mend = f"SELECT pg_terminate_backend({row['pid']}), or end it in its program"
        return _problem("transactions", message, mend)
    if not await connection.fetchval("SELECT pg_has_role('pg_read_all_stats', 'MEMBER')"):
        message = "this role sees only its own transactions (grant pg_read_all_stats)"
        return unknown("transactions", message)
    return fine("transactions", f"no transaction is open for more than {_LONG_S // 60} minutes")


async def _disk(connection: asyncpg.Connection[Any]) -> Finding:
    idle = await connection.fetch(_IDLE_SLOTS)
    if idle:
        names = ", ".join(str(row["slot_name"]) for row in idle)
        kept = max(row["kept"] for row in idle)
        mend = "SELECT pg_drop_replication_slot(…), or start its reader"
        message = (
            f"nothing reads the slots {names}: they keep {kept / 1e6:.1f} MB of the log so far"
        )
        return _problem("disk", message, mend)
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    message = f"the database holds {size / 1e6:.1f} MB; SQL cannot ask how much room is left"
    return unknown("disk", message)


async def _clock(connection: asyncpg.Connection[Any]) -> Finding:
    asked = time.time()
    there = float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
    off_s = max(asked - there, there - time.time(), 0.0)
    if off_s > _CLOCKS_S:
        mend = "set both clocks with NTP"
        return _problem("clock", f"its clock and the clock here differ by {off_s:.1f} s", mend)
    return fine("clock", "its clock and the clock here agree")
