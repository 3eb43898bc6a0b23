"""``PostgresStore`` is the store for PostgreSQL. Most calls execute one statement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg
from asyncpg.pool import Pool

from inkstream import wire
from inkstream._errors import (
    OffsetGone,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    StreamExists,
    StreamGone,
    StreamNotFound,
    TooManyStreams,
)
from inkstream._types import (
    Group,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Roster,
    StreamId,
    StreamState,
    WorkerReport,
    WorkerState,
)
from inkstream.stores import _sql
from inkstream.stores._share import share_of
from inkstream.stores.postgres import _foreign, _locks, _rows
from inkstream.stores.postgres._address import SCHEMA, Address, in_schema, schema_name
from inkstream.stores.postgres._channel import Channel
from inkstream.stores.postgres._connections import ANSWER_S, STATEMENT_S, Connections, connect
from inkstream.stores.postgres._faults import DRIVER_ERRORS, translate, unreachable
from inkstream.stores.postgres._migrate import VERSION, foreign_steps, migrate_hint, way_out
from inkstream.stores.postgres._session import Session

_log = logging.getLogger("inkstream")

_HEARTBEAT_S: Final = 5.0
_COURTESY_S: Final = 2.0
_KEEPALIVES: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",  # milliseconds
}
_EXPIRED_IN_A_STEP: Final = 100
_CLOCK_S: Final = 60.0
_MERGED_IN_A_STATEMENT: Final = 256 * 1024
_ANOTHER: Final = (
    "connection= belongs to another database than the streams, so no reader would find what is "
    "written; give a connection of the database that the streams were created with"
)
_STATEMENT_BYTES: Final = 4 * 1024
"""``tidy`` counts each statement as at least this many bytes, to limit its statements per call."""

_QUERIES: Final[dict[str, str]] = vars(_sql.load("inkstream.stores.postgres", "queries.sql"))


class PostgresStore:
    """Keep streams in PostgreSQL, in a schema of their own.

    The database must have been migrated (``inkstream migrate``), because the store never changes a
    schema.

    ``connection=`` takes an asyncpg connection, a psycopg 3 connection (synchronous or not), an
    SQLAlchemy 2 ``Connection``, ``Session``, ``AsyncConnection`` or ``AsyncSession``, or Django's
    ``connection``. With a synchronous connection the call blocks the event loop. Calls with
    ``connection=`` work even if the store is not open. They are not retried after a deadlock,
    because a deadlock ends the application's transaction. An open store refuses a connection to
    another database.

    Args:
        database: A URL (``postgresql://``, ``postgres://``, ``postgresql+driver://``), an asyncpg
            pool, which the store never closes, or an SQLAlchemy engine, of which only the URL is
            used. ``?pooler=true`` in a URL means that a transaction pooler answers at that URL.
            ``?schema=`` and ``?listener_url=`` (percent-encoded) have the same effect as the
            arguments ``schema`` and ``listener_url``.
        schema: The schema that was migrated; ``inkstream`` by default.
        listener_url: The URL for the one connection that listens for hints and holds the worker's
            lock. The default is ``database``. If ``database`` is an asyncpg pool or a pooler's URL,
            there is no default, and without ``listener_url`` the store does not open this
            connection. Readers then learn of changes only by polling, and only missing beats show
            that a worker is dead.
        max_connections: The maximum number of connections, without the connection that listens. If
            ``database`` is a pool, the pool's own maximum counts instead.
        wait_s: How long a call may wait for PostgreSQL's answer before it raises
            ``StoreUnavailable``. Some calls wait less.
    """

    def __init__(
        self,
        database: object,
        *,
        schema: str | None = None,
        listener_url: str | None = None,
        max_connections: int = 5,
        wait_s: float = STATEMENT_S,
    ) -> None:
        try:
            source: Address | Pool[Any] = (
                database if isinstance(database, Pool) else Address.parse(database)
            )
            address = source if isinstance(source, Address) else None
            if address is not None:
                schema = address.schema if schema is None else schema
                listener_url = listener_url or address.listener_url
            direct = address if listener_url is None else Address.parse(listener_url)
        except (TypeError, ValueError):
            del database, listener_url  # a traceback could show the password
            raise
        if address is not None and address.ignored:
            _log.info("parameters of the database's URL that change nothing: %s", address.ignored)
        schema = schema_name(SCHEMA if schema is None else schema)
        self._schema = schema
        self._sql = {name: in_schema(query, schema) for name, query in _QUERIES.items()}
        self._migrate = migrate_hint(address)
        self._connections = Connections(
            source,
            max_connections=max_connections,
            migrate=self._migrate,
            on_condemned=self._condemned,
            wait_s=wait_s,
        )
        self._direct = direct
        self._session: Session | None = None
        if direct is not None and not direct.pooler:
            self._session = Session(
                lambda: connect(direct),
                self._set_keepalives,
                lambda: self._unlock_worker(released=False),
            )
        self._writes = False
        self._first_write = asyncio.Lock()
        self._locks = _locks.Locks()
        self._worker = ""
        self._identity: str | None = None
        self._beaten = 0
        self._clock_off = False
        self.host_behind_s = 0.0
        """As in ``Store``, but 0 if this host's clock is at most 60 s behind PostgreSQL's."""
        self.channel = Channel(f"{schema}_hints", self._session, self._notify)
        """The channel on which ``PostgresNotifier`` listens and sends."""

    async def open(self, worker: str) -> None:
        self._worker = worker
        self._writes = False
        self._first_write = asyncio.Lock()
        await self._connections.open()
        try:
            await self._check_schema()
            if self._session is not None:
                self._session.forget(self._lock_worker)
                try:
                    await self._session.open()
                except DRIVER_ERRORS as exc:
                    raise unreachable(exc, self._migrate) from exc
            # Call ``_before_write`` now, because it waits on the event loop. The first write may be
            # a call of inkstream.sync with a connection. Such a call runs without an event loop.
            with contextlib.suppress(StoreError):
                await self._before_write()
        except BaseException:
            await self._connections.close()
            raise

    async def _check_schema(self) -> None:
        ((version, needs, encoding, versions, digests),) = await self._connections.fetch(
            self._sql["schema_version"], writing=False, timeout_s=ANSWER_S
        )
        if version < VERSION:
            raise SchemaOutdated(
                f"the schema is at version {version}, this library needs {VERSION}: {self._migrate}"
            )
        applied = dict(zip(versions, digests, strict=True))
        foreign = await asyncio.to_thread(foreign_steps, applied)
        if foreign:
            raise SchemaOutdated(way_out(foreign, self._schema, self._migrate))
        if needs > VERSION:
            raise SchemaOutdated(
                f"the schema is at version {version} and needs a library that knows version "
                f"{needs}; this one knows {VERSION}: upgrade inkstream"
            )
        if encoding != "UTF8":
            raise StoreError(f"the database's encoding is {encoding}; inkstream needs UTF8")
        ((self._identity, now),) = await self._connections.fetch(
            self._sql["identity"], writing=False
        )
        self._note_clock(now)

    async def _before_write(self) -> None:
        """Before this worker's first write, take this worker's lock.

        If no other worker lives, begin a new generation first, because a backup may have been
        restored.

        If the database takes no writes during ``open``, ``open`` succeeds nevertheless, so that
        `inkstream show` works in such an outage. The first write then calls this method again.
        """
        async with self._first_write:
            if not self._writes:
                draw = self._sql["draw_if_alone"]
                await self._connections.fetch(draw, writing=False, inside=True)
                if self._session is not None:
                    try:
                        await self._session.attach(self._lock_worker)
                    except DRIVER_ERRORS as exc:
                        raise translate(exc, writing=False, migrate=self._migrate) from exc
                self._writes = True

    async def close(self) -> None:
        if self._session is not None:
            await self._unlock_worker(released=True)
            await self._session.close()
        await self._connections.close()

    def _condemned(self) -> None:
        """Replace the session's connection, after the pool has closed its own connections.

        The server of these connections takes no writes, so it sends no notifications.
        """
        if self._session is not None:
            self._session.renew()

    async def _lock_worker(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(self._sql["lock_worker"], self._worker, timeout=_HEARTBEAT_S)

    async def _set_keepalives(self, connection: asyncpg.Connection[Any]) -> None:
        """Make the server notice within seconds that this host is gone.

        By default, the server would keep the session and the session's lock for two hours.
        """
        for name, value in _KEEPALIVES.items():
            # A server on another operating system may lack some of these settings.
            with contextlib.suppress(asyncpg.PostgresError):
                await connection.execute(
                    self._sql["set_setting"], name, value, timeout=_HEARTBEAT_S
                )

    async def _unlock_worker(self, *, released: bool) -> None:
        if not self._writes:
            return
        with contextlib.suppress(StoreError):
            await self._connections.fetch(
                self._sql["unlock_worker"],
                self._worker,
                released,
                writing=False,
                timeout_s=_COURTESY_S,
            )

    async def _notify(self, channel: str, payload: str) -> None:
        await self._connections.fetch(self._sql["notify"], channel, payload, writing=False)

    # Streams ---------------------------------------------------------------------------------

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        args = (*_rows.create_args(new), None if connection is None else self._identity)
        rows = await self._fetch("create_stream", args, connection, writing=True)
        if not rows:
            raise TypeError(_ANOTHER)
        ((outcome, text),) = rows
        state = None if text is None else _rows.decode_state(text)
        if outcome == "created":
            assert state is not None
            return state
        if outcome == "exists":
            raise StreamExists(new.stream_id)
        if outcome == "too many":
            raise TooManyStreams(
                f"owner {new.owner!r} has {new.max_live} live streams already",
                limit=new.max_live or 0,
            )
        if new.fork is None or state is None:
            raise StreamNotFound(new.stream_id, "the stream to fork does not exist")
        if outcome == "source gone":
            raise StreamGone(state.stream_id)
        raise OffsetGone(state.stream_id, str(wire.Offset(new.fork.source, new.fork.position)))

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        if connection is not None:
            changed = {change.internal_id for group in groups for change in group.changes}
            await self._announce(list(changed), connection)
        order, waves = _rows.in_waves(groups)
        groups = [groups[n] for n in order]
        args = _rows.commit_args(waves, groups)
        rows = await self._fetch("commit_changes", args, connection, writing=True)
        outcomes = dict(zip(order, _rows.outcomes(groups, rows), strict=True))
        return [outcomes[n] for n in range(len(order))]

    async def read(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        if connection is not None:
            await self._check_home(connection)
        args = ([stream_id], [after], max_bytes, [_rows.storable(name) for name in marks])
        (row,) = await self._fetch("read_streams", args, connection)
        if row[0] is None:
            raise StreamNotFound(stream_id)
        page = _rows.page(row, after)
        if page.state.gone:
            raise StreamGone(stream_id)
        return page

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        args: tuple[object, ...] = (
            [read.stream_id for read in reads],
            [read.after for read in reads],
            share_of(max_bytes, len(reads)),
            [],
        )
        rows = await self._fetch("read_streams", args, None)
        return [
            None if page is None or page.state.gone else page
            for page in (
                None if row[0] is None else _rows.page(row, read.after)
                for row, read in zip(rows, reads, strict=True)
            )
        ]

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        if connection is not None:
            await self._check_home(connection)
        rows = await self._fetch("find_streams", _rows.find_args(query), connection)
        return [_rows.decode_state(text) for (text,) in rows]

    async def _check_home(self, connection: object) -> None:
        """Raise ``TypeError`` for a connection to another database that also has the schema."""
        ((identity, _),) = await self._fetch("identity", (), connection)
        if self._identity not in (None, identity):
            raise TypeError(_ANOTHER)

    async def delete(
        self,
        internal_ids: Sequence[int],
        *,
        due_before: float | None = None,
        connection: object | None = None,
    ) -> int:
        if connection is not None:
            await self._announce(internal_ids, connection)
        ids = list(internal_ids)
        name, args = (
            ("delete_streams", (ids,)) if due_before is None else ("delete_due", (ids, due_before))
        )
        ((deleted,),) = await self._fetch(name, args, connection, writing=True)
        return int(deleted)

    async def _announce(self, internal_ids: Sequence[int], connection: object) -> None:
        """Let the server send a hint when the application's transaction commits.

        inkstream itself cannot send this hint, because it does not see the commit.
        Raise ``TypeError`` for a connection to another database.
        """
        args = (self.channel.name, list(internal_ids), self._identity)
        if not await self._fetch("announce", args, connection):
            raise TypeError(_ANOTHER)

    async def _fetch(
        self,
        name: str,
        args: Sequence[object],
        connection: object | None,
        *,
        writing: bool = False,
    ) -> Sequence[Sequence[Any]]:
        if connection is None:
            # Only a read waits for its turn, because a commit must never wait for readers.
            turn = self._writing() if writing else self._connections.reading()
            async with turn:
                return await self._connections.fetch(
                    self._sql[name], *args, writing=writing, inside=True
                )
        if writing and self._connections.is_open:
            async with self._writing():
                pass
        return await _foreign.fetch(connection, self._sql[name], args, self._migrate)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        with self._connections.under_way():
            if not self._writes:
                await self._before_write()
            yield

    # Workers and housekeeping ----------------------------------------------------------------

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        async def look(beat: bool, forget: Sequence[str]) -> list[_locks.Row]:
            if beat and not self._writes:
                await self._before_write()
            rows = await self._connections.fetch(
                self._sql["heartbeat"],
                self._worker,
                beat,
                self._beaten,
                list(forget),
                said if beat else None,
                writing=beat or bool(forget),
                timeout_s=_HEARTBEAT_S,
            )
            if beat:
                self._beaten = rows[0][3]
            return [(worker, beats, lock) for worker, beats, lock, _ in rows]

        with self._connections.under_way():
            rows = await look(beat, forget)
            mine = [lock for worker, _, lock in rows if worker == self._worker]
            if self._session is not None and mine and mine[0] != "held":
                self._session.renew()
            return await self._locks.judge(rows, lambda: look(True, ()), beaten=beat)

    def beat_from_thread(self, said: str | None) -> None:
        address, worker = self._direct, self._worker
        if address is None:
            raise StoreUnavailable(
                "an application's own pool belongs to the blocked event loop: give listener_url"
            )

        async def beat() -> None:
            # The pool's connections belong to the blocked event loop, so open another connection.
            connection = await connect(address)
            try:
                if said is None:
                    await connection.execute(self._sql["unlock_worker"], worker, True)
                else:
                    await connection.execute(
                        self._sql["heartbeat"], worker, True, self._beaten, [], said
                    )
            finally:
                connection.terminate()

        try:
            asyncio.run(asyncio.wait_for(beat(), _HEARTBEAT_S))
        except (*DRIVER_ERRORS, TimeoutError) as exc:
            raise StoreUnavailable(f"the beat could not be sent: {exc!r}") from exc

    async def roster(self) -> Roster:
        locked: dict[str, bool | None] = {}
        # While the database takes no writes, ``heartbeat`` raises an error. An operator can then
        # still read the roster, without the locks.
        with contextlib.suppress(StoreError):
            locked = {state.worker: state.locked for state in await self.heartbeat(beat=False)}
        rows = await self._connections.fetch(self._sql["roster"], writing=False)
        return Roster(
            rows[0][0],
            tuple(
                WorkerReport(worker, locked.get(worker), beat_at, said)
                for _, worker, beat_at, said in rows
                if worker is not None
            ),
        )

    def _note_clock(self, server_now: float) -> None:
        """Compare this host's clock with PostgreSQL's clock, by which streams expire.

        If this host's clock is more than 60 s behind, other hosts would end its new streams before
        their start, and delete its ended streams too early. So the engine then adds the difference
        to all times that it stores.
        """
        behind_s = server_now - time.time()
        is_off = abs(behind_s) > _CLOCK_S
        if is_off and not self._clock_off:
            _log.warning(
                "this host's clock is %.0f s %s PostgreSQL's: streams expire by PostgreSQL's",
                abs(behind_s),
                "behind" if behind_s > 0 else "ahead of",
            )
        self._clock_off = is_off
        self.host_behind_s = behind_s if behind_s > _CLOCK_S else 0.0

    async def tidy(self, now: float, max_bytes: int) -> bool:
        with self._connections.under_way():
            ((expired, server_now),) = await self._connections.fetch(
                self._sql["expire_streams"], now, _EXPIRED_IN_A_STEP, writing=True
            )
            self._note_clock(server_now)
            rewritten = 0
            while rewritten < max_bytes:
                ((merged,),) = await self._connections.fetch(
                    self._sql["merge_stream"],
                    min(max_bytes - rewritten, _MERGED_IN_A_STATEMENT),
                    wire.SEGMENT_BYTES,
                    writing=True,
                )
                if merged is None:
                    return bool(expired == _EXPIRED_IN_A_STEP)
                rewritten += max(merged, _STATEMENT_BYTES)
            return True
