"""The protocols that every store, every notifier and every clock must implement.

To support another database, write a class with the methods of ``Store``, and run
``inkstream.testing.StoreSuite`` against this class. This module also exports the types in the
methods' signatures, and functions that make states, runs and generations. ``inkstream.wire`` cuts
and merges segments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from inkstream._runs import Run, Runs, draw_generation, extended, generation_of, inherited
from inkstream._types import (
    JSON,
    KEEP,
    Change,
    Committed,
    End,
    Fork,
    Group,
    Head,
    Keep,
    Kind,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Refused,
    Roster,
    Segment,
    Status,
    StreamId,
    StreamState,
    WorkerReport,
    WorkerState,
    applied,
)

__all__ = [
    "JSON",
    "KEEP",
    "Change",
    "Clock",
    "Committed",
    "End",
    "Fork",
    "Group",
    "Head",
    "Keep",
    "Kind",
    "NewStream",
    "Notifier",
    "Outcome",
    "Page",
    "Query",
    "Read",
    "Refused",
    "Roster",
    "Run",
    "Runs",
    "Segment",
    "Status",
    "Store",
    "StreamId",
    "StreamState",
    "WorkerReport",
    "WorkerState",
    "applied",
    "draw_generation",
    "extended",
    "generation_of",
    "inherited",
]


class Store(Protocol):
    """The streams, their messages, and the workers that write them.

    All methods may be called concurrently. When a method that writes returns, its changes are
    durable, and every later read sees the changes. A call that raises ``StoreUnavailable`` has
    changed nothing. But after the subclass ``OutcomeUnknown``, only a read can show whether the
    call has changed something. If a call is cancelled, the store makes either all of the call's
    changes or none.

    Some methods have the argument ``connection``: an open connection (or session) of the
    application to the same database. With ``connection``, the method works in the application's
    transaction. The method's changes are durable and visible when this transaction commits, and
    undone when this transaction rolls back. If a store cannot use ``connection``, the method raises
    ``TypeError`` and changes nothing.
    """

    @property
    def host_behind_s(self) -> float:
        """By how much the clock of this host is behind the clock by which ``tidy`` expires streams.

        The engine adds this difference to the times that it stores, so that no stream expires too
        early. The difference is 0 if ``tidy`` uses only the times that its callers pass.
        """

    async def open(self, worker: str) -> None:
        """Open the store for ``worker``. Take the worker's lock now, or before its first write.

        Other workers learn from the lock whether this worker lives. The lock becomes free when the
        process ends in any way. A store may have no such lock (see ``WorkerState.locked``).

        The store has a *generation*, a random number from 1 to 2**24 - 1. Each message and each end
        belongs to the generation in which it was committed (``StreamState.runs``). The store must
        change its generation whenever committed messages may have been lost, for instance in a
        restore from a backup or in a failover. Such a loss may happen while no worker lives. So
        the store must change the generation before this worker's first write. There is one
        exception: if another worker lives and can commit already, the store may keep its
        generation, because a backup is restored only while all workers are stopped. The store must
        also change its generation when this worker finds that messages of its own commits are
        missing. A new generation does no harm if no message was lost.

        Raises:
            SchemaOutdated: The database must be migrated first.
            StoreUnavailable: The database cannot be reached.
        """

    async def close(self) -> None:
        """Wait until running calls have finished, then release the lock and all resources."""

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        """Create a stream with the first messages, the marks and the end in ``new``, atomically.

        The internal id of the new stream must be larger than the internal ids of all earlier
        streams, including deleted streams. A text stream begins ``pending``, and a log begins
        ``open``; with ``new.end``, the stream has that end at once. A new stream has epoch 0 and no
        worker.

        A fork begins with its tail at ``fork.position`` and with size 0, because its inherited
        messages are stored with the copied stream. A read of the fork from before ``fork.position``
        returns messages of the copied stream, even if that stream was deleted.

        The runs of a new stream end with a run of the store's generation (``_runs.extended``). A
        fork also has the copied stream's runs up to ``fork.position`` (``_runs.inherited``).

        Raises:
            StreamExists: A stream with this id exists or is gone.
            StreamNotFound: The copied stream does not exist.
            StreamGone: The copied stream is gone.
            OffsetGone: ``fork.position`` lies past the copied stream's tail.
            TooManyStreams: The owner already has ``new.max_live`` streams that are ``pending`` or
                ``streaming``.
        """

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        """Apply each group of changes completely or not at all. Return one outcome for each group.

        A refused group does not affect other groups. A group sees the changes of earlier groups in
        ``groups``. After the check of a group's conditions, no commit of any process changes the
        group's streams before the group's own changes are made. For a change that adds messages or
        an end, the store reads its generation in the same transaction, and extends the stream's
        runs (``_runs.extended``).
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
        """Return messages of a stream, and its state and marks in the same snapshot.

        ``read`` never waits for new messages. With ``max_bytes`` 0, the page has no messages.
        Otherwise the page has at least one segment, if the stream has messages after ``after``. If
        ``after`` is past the stream's tail, the page has no messages, and ``read`` raises no error.
        The page of a fork may stop after the last inherited message, although more messages follow.
        The segments are in order, without gaps. The last segment may be only the beginning of a
        stored segment.

        Args:
            stream_id: The id of the stream.
            after: The position after which messages are requested; 0 for the start of the stream.
            max_bytes: The approximate limit of the page's payload, in bytes.
            marks: The names of marks to return. The page leaves out marks that do not exist.
            connection: The application's connection. The page then also shows what the transaction
                of this connection has not committed yet.

        Raises:
            StreamNotFound: The stream was never created, was deleted or has expired.
            StreamGone: The stream was deleted, but its forks still need its messages.
        """

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        """Return one page for each item of ``reads``, in the same order.

        All pages are of one snapshot. The page is ``None`` for a stream that does not exist or
        is gone. The store uses one round trip for any number of streams. ``max_bytes`` is the
        approximate limit of all pages together, in bytes, and each stream gets an equal share. If a
        stream has messages after ``Read.after``, its page has at least one segment.
        """

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        """Return states that match ``query``, in one snapshot, by descending internal id.

        The result has at most ``query.limit`` states, and never the state of a stream that is gone.
        """

    async def delete(
        self,
        internal_ids: Sequence[int],
        *,
        due_before: float | None = None,
        connection: object | None = None,
    ) -> int:
        """Delete streams of any status, with all their data. Return how many streams existed.

        With ``due_before``, delete only the streams that ``tidy`` would delete at this time, and
        return how many. No commit may come between this decision and the deletion.

        If a fork reads a stream's messages, the stream becomes ``gone``: no query finds the stream,
        and no new stream may have its id. The store keeps the messages of a gone stream until the
        last such fork is deleted. The result does not count streams that were gone before the call.
        """

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        """Return all workers that have ever beaten and were not forgotten.

        With ``beat``, this worker's counter first grows, and ``said`` replaces the worker's
        description of itself, unless ``said`` is ``None``. The store forgets the workers in
        ``forget``, except workers to which a stream belongs. If this worker has lost its lock, the
        method takes the lock again.

        ``WorkerState.locked`` may be false only if the worker is certainly dead, or has released
        its lock itself (see ``beat_from_thread``). In some stores, even a living worker loses its
        lock while the database accepts no writes. Such a store must write a beat in the statement
        that reads the locks, even without ``beat``. If this beat is committed, the database accepts
        writes, so every living worker can take its lock again.
        """

    def beat_from_thread(self, said: str | None) -> None:
        """Send one beat while the event loop is blocked.

        If ``said`` is ``None``, release this worker's lock instead. The next ``heartbeat`` takes
        the lock again. A thread other than the event loop's thread calls this method. The method
        blocks for a limited time, and does not need the event loop.

        Raises:
            StoreUnavailable: The beat failed, or its outcome is unknown.
        """

    async def roster(self) -> Roster:
        """Return all workers. No decision about a stream may depend on the times in the result."""

    async def tidy(self, now: float, max_bytes: int) -> bool:
        """Do one short step of housekeeping. Return True if there is more work now.

        The store merges the segments of ended streams, and perhaps of live streams, into large
        segments. A merge changes no offset and no text. The store deletes ended streams and logs
        whose ``due_at`` is not after ``now``, a wall time. If the database has a clock, the store
        may keep such a stream until ``due_at`` has passed by this clock too. The store may also
        give free space back to the disk. One step rewrites about ``max_bytes``, so that no writer
        waits long. Several processes may call ``tidy`` at the same time.
        """


class Notifier(Protocol):
    """Sends hints to other processes, and receives their hints.

    A hint says that streams have changed, and carries no text. If a hint is lost, readers get new
    text later, but no text is lost, because every process also polls the store.
    """

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        """Begin to call ``on_hint`` with the streams that other processes changed.

        The notifier calls ``on_hint`` on the event loop that runs now. The argument ``None`` means
        that any stream may have changed. The notifier may also call ``on_hint`` with streams that
        this process itself changed.
        """

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        """Send a hint about these streams to all other processes.

        The caller calls ``notify`` after the commit that changed the streams. If the notifier's
        connection is lost, the hint is lost, but ``notify`` raises no error.
        """

    def watch(self, watching: bool) -> None:
        """Set whether this process needs hints. If not, the notifier may stop polling."""

    async def close(self) -> None:
        """Stop calling ``on_hint``, and release all resources."""


class Clock(Protocol):
    """Two kinds of time. Never compare a monotonic time with a wall time."""

    def monotonic(self) -> float:
        """Return seconds that never jump, for waits and leases."""

    def wall(self) -> float:
        """Return seconds since the Unix epoch, for expiry and display.

        The decision whether a worker is dead must not depend on this time, because it may jump.
        """
