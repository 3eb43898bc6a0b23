"""The seams: what a database, a wake-up between processes, and a clock must do for inkstream.

A third party adds a database by writing one class with the methods of ``Store`` and running
``inkstream.testing.StoreSuite`` against it. Nothing here says how: these are
obligations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

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
    WorkerState,
)


class Store(Protocol):
    """The truth: streams, their messages, and the workers that write them.

    All methods may be called concurrently. One that writes has happened, durably, when it returns,
    and any reader that begins afterwards sees it. A call that raises ``StoreUnavailable`` has not
    happened; ``OutcomeUnknown`` says that nobody can know. Cancelling an awaited write leaves
    it either done or not done, never half.

    ``connection``, where a method takes it, is the application's own open connection (or session)
    to the same database: the method then becomes part of the caller's transaction, is durable and
    visible when that commits, and vanishes when it rolls back. A store that cannot take part in
    the given one raises ``TypeError``, having done nothing.
    """

    async def open(self, worker: str) -> None:
        """Make ready to work, and take a lock in this worker's name that dies with the process.

        The lock is released by the operating system or the database when the process ends in any
        way, and by ``close``. It need not exist (see ``WorkerState.locked``).

        The store has a *generation*, a random number from 1 to 2**24 - 1, in which messages and
        ends are committed (``StreamState.runs``). It must be another one whenever committed
        messages may have been lost: by a restore from a backup, or a failover. So the first after
        ``open`` stand in another generation unless a worker lives that could commit before, and
        so do those after this worker finds that what it had committed is not there. Needless new
        generations do no harm.

        Raises:
            SchemaOutdated: The database must be migrated first.
            StoreUnavailable: The database cannot be reached.
        """

    async def close(self) -> None:
        """Release the lock and everything else. Calls under way finish first."""

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        """Create a stream, with its first messages, marks and end if given, in one step.

        It gets an internal id larger than that of every stream before it, deleted ones included.
        A text stream begins ``pending``, a log ``open``, either in epoch 0 with no worker. A fork
        begins with tail at ``fork.position`` and size 0 (what it inherits is stored elsewhere), and
        positions before it read the source's messages, whatever later happens to the source; it has
        the source's runs up to there (``_runs.inherited``). What it holds itself, or gains next,
        stands in the present generation (``_runs.extended``).

        Raises:
            StreamExists: The id is taken, also by a stream that is gone.
            StreamNotFound: The fork's source does not exist; ``StreamGone``: it was deleted.
            OffsetGone: The fork's position lies past the source's tail.
            TooManyStreams: The owner has ``max_live`` live streams.
        """

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        """Apply groups of changes, each all or nothing, and say for each what came of it.

        Groups are independent: one that is refused takes no other with it, and a later group sees
        what earlier ones did. Each is evaluated and applied at one point in the order of all
        commits to the streams it names, whichever process they come from. A change that adds
        messages or an end reads the generation at that point, and extends the stream's runs if the
        last one is of another.
        """

    async def read(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        """Return the messages after a position, with the state and marks of the same snapshot.

        Never waits: following is built above this method. With ``max_bytes`` 0 there are no
        messages, only state; else at least one segment if any message follows. ``after`` past the
        tail gives an empty page (whose state shows it), not an error. A fork's page may end where
        inheritance ends; segments are in order, without gap, and the last one may be cut to it.

        Args:
            stream_id: The stream, by name.
            after: Position of the last message already received; 0 for all.
            max_bytes: Soft limit on the page's payload, in bytes.
            marks: Names of marks to return; those that do not exist are left out.
            connection: The application's own, whose uncommitted writes are then seen.

        Raises:
            StreamNotFound: No such stream, or it was deleted or has expired.
            StreamGone: It was deleted and is kept only for its forks.
        """

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        """Return a page of each of several streams, in their order, all of one snapshot.

        ``None`` stands for a stream that does not exist or is gone. One round trip, however many
        they are. ``max_bytes`` is the soft limit on the whole answer: each stream is read within
        an equal share of it, and is given at least one segment if any message follows, so that
        a caller that asks again gets on with every one of them.
        """

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        """Return the states that match, newest (largest internal id) first, one snapshot."""

    async def delete(self, internal_ids: Sequence[int], *, connection: object | None = None) -> int:
        """Delete streams with everything they own, whatever their status; return how many existed.

        A stream whose messages a fork reads becomes ``gone``: found by nothing, its id taken, its
        messages kept until the last such fork is deleted, and then removed with it. A stream that
        is gone already does not count.
        """

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        """Return every worker that has ever beaten and was not forgotten, in one timely read.

        With ``beat`` this worker's own counter moves first (and begins to exist), and ``said``
        replaces what the worker said about itself before; ``None`` leaves that as it was. Workers
        to ``forget`` are removed, unless they own a stream. Takes the lock again if it was lost.

        A state has ``locked`` false only if that proves the worker's death. Where a lock also
        falls free while the database takes no writes, the store must beat to tell the two apart,
        without ``beat`` too: only a read in whose statement a beat committed shows that the owner
        could have taken its lock again.
        """

    def beat_from_thread(self, said: str | None) -> None:
        """Beat once, or with ``None`` release this worker's lock, while the event loop is blocked.

        Called from a thread that is not the event loop's, while the store is open. It blocks, in
        bounded time, and needs no turn of that loop. A lock that was released is taken again with
        the next heartbeat.

        Raises:
            StoreUnavailable: It did not happen, or nobody can tell.
        """

    async def roster(self) -> Roster:
        """Return the same workers for an operator: when each beat last, and what it said then.

        For display: no decision about a stream may rest on its times.
        """

    async def tidy(self, now: float, max_bytes: int) -> bool:
        """Do a bounded step of housekeeping; return True if there is more to do at once.

        Ended streams' segments are merged into large ones (offsets and text unchanged), those of
        streams that go on may be, streams that are due at ``now`` (a wall time) are deleted in
        batches unless ``pending`` or ``streaming``, and free space is returned. About
        ``max_bytes`` are rewritten in a step, so that no writer waits long. Several processes may
        tidy at once.
        """


class Notifier(Protocol):
    """A hint between processes that streams have changed. It carries no text.

    Losing any or all hints costs latency, never data: all that wait also read again now and then.
    """

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        """Begin to call ``on_hint``, on this event loop, with the streams that changed elsewhere.

        ``None`` means: any stream may have changed (hints were lost, or there are too many).
        Hints of one's own changes may come too.
        """

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        """Tell all other processes that these streams changed; call it after the commit.

        Never raises for want of a connection: the hint is then lost.
        """

    def watch(self, watching: bool) -> None:
        """Say whether anybody here waits for hints now; a notifier that polls rests meanwhile."""

    async def close(self) -> None:
        """Stop calling ``on_hint`` and release everything."""


class Clock(Protocol):
    """Time, in the two kinds that must not be mixed up."""

    def monotonic(self) -> float:
        """Return seconds that never jump, for waits and leases."""

    def wall(self) -> float:
        """Return seconds since the Unix epoch, for expiry and display, never for safety."""
