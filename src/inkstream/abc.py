"""The protocols that a database, a notifier between processes, and a clock must implement.

To add a database, write one class with the methods of ``Store``, and run
``inkstream.testing.StoreSuite`` against it. The docstrings state what callers may rely on, not how
a store must do its work.
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
    """The streams, their messages, and the workers that write them.

    All methods may be called concurrently. When a method that writes returns, its effect is durable
    and visible to every reader that begins later. A call that raises ``StoreUnavailable`` changed
    nothing. After ``OutcomeUnknown``, only a read can show whether the call changed something. A
    cancelled write was applied either completely or not at all.

    ``connection``, if a method takes it, is the application's own open connection (or session) to
    the same database. The method then becomes part of the caller's transaction: it is durable and
    visible when the transaction commits, and undone when the transaction rolls back. If a store
    cannot use the given connection, it raises ``TypeError`` and changes nothing.
    """

    async def open(self, worker: str) -> None:
        """Open the store, and take a lock in this worker's name that ends with the process.

        The operating system or the database releases the lock when the process ends in any way, and
        ``close`` releases it too. A store may have no such lock (see ``WorkerState.locked``).

        The store has a *generation*, a random number from 1 to 2**24 - 1. Each message and each end
        belongs to the generation in which it was committed (``StreamState.runs``). The store must
        change its generation whenever committed messages may have been lost: after a restore from a
        backup, or after a failover. So ``open`` must change the generation, unless another worker
        lives that could commit before this call. The store must also change its generation when
        this worker finds that its own committed messages are missing. An unneeded change does no
        harm.

        Raises:
            SchemaOutdated: The database must be migrated first.
            StoreUnavailable: The database cannot be reached.
        """

    async def close(self) -> None:
        """Release the lock and all resources. Calls that are running finish first."""

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        """Create a stream in one step, with its first messages, its marks and its end if given.

        The new internal id must be larger than that of every earlier stream, including deleted
        ones. A text stream begins ``pending``, a log begins ``open``; both begin in epoch 0 with no
        worker. A fork begins with its tail at ``fork.position`` and with size 0, because the
        inherited messages are stored with the source. A read before that position returns the
        source's messages, whatever happens to the source later. The fork also has the source's runs
        up to that position (``_runs.inherited``). Its own messages belong to the current generation
        (``_runs.extended``).

        Raises:
            StreamExists: A stream has this id already, or a stream with this id is gone.
            StreamNotFound: The fork's source does not exist.
            StreamGone: The fork's source was deleted.
            OffsetGone: The fork's position lies past the source's tail.
            TooManyStreams: The owner has ``max_live`` live streams.
        """

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        """Apply each group of changes completely or not at all; return one outcome per group.

        Groups are independent: a refused group does not affect other groups, and a later group sees
        the changes of earlier groups. Each group is checked and applied at one point in the order
        of all commits to its streams, including commits of other processes. If a change adds
        messages or an end, the store reads its generation at the same point. If the stream's last
        run belongs to another generation, the store adds a run.
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

        ``read`` never waits for new messages. With ``max_bytes`` 0 it returns the state and no
        messages. Otherwise it returns at least one segment if any message follows. If ``after`` is
        past the tail, it returns an empty page (whose state shows the tail), not an error. A fork's
        page may end at the last inherited message. Segments are in order and without gaps, and the
        last segment may be cut.

        Args:
            stream_id: The stream, by name.
            after: Position of the last message already received; 0 for all.
            max_bytes: Soft limit on the page's payload, in bytes.
            marks: Names of marks to return. Names that do not exist are left out.
            connection: The application's own connection. The page then shows its uncommitted
                writes.

        Raises:
            StreamNotFound: The stream does not exist, was deleted or has expired.
            StreamGone: The stream was deleted and is kept only for its forks.
        """

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        """Return a page of each of several streams, in their order, all of one snapshot.

        ``None`` stands for a stream that does not exist or is gone. The store uses one round trip
        for any number of streams. ``max_bytes`` is the soft limit on all pages together, and each
        stream gets an equal share. Each stream gets at least one segment if any message follows, so
        that every further call makes progress on every stream.
        """

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        """Return the states that match, of one snapshot, sorted by descending internal id."""

    async def delete(self, internal_ids: Sequence[int], *, connection: object | None = None) -> int:
        """Delete streams with all their data, whatever their status; return how many existed.

        If a fork reads a stream's messages, the stream becomes ``gone``: no query finds it, and no
        new stream may use its id. Its messages are kept until the last such fork is deleted. A
        stream that is already gone does not count.
        """

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        """Return, in one read, every worker that has ever beaten and was not forgotten.

        With ``beat``, this worker's own counter first grows (or is created), and ``said`` replaces
        the worker's description of itself; ``None`` keeps the old description. Workers in
        ``forget`` are removed, unless they own a stream. If this worker lost its lock, the method
        takes the lock again.

        A state may have ``locked`` false only if the worker is certainly dead. In some stores a
        living worker also loses its lock when the database accepts no writes. Such a store must
        write a beat in the statement that reads the locks, even without ``beat``. Only a committed
        beat proves that a living owner could have taken its lock again.
        """

    def beat_from_thread(self, said: str | None) -> None:
        """Beat once while the event loop is blocked; with ``None``, release this worker's lock.

        A thread other than the event loop's calls this method while the store is open. The method
        blocks for a bounded time, and does not need the event loop. The next heartbeat takes a
        released lock again.

        Raises:
            StoreUnavailable: The beat did not happen, or its outcome is unknown.
        """

    async def roster(self) -> Roster:
        """Return all workers for an operator, with the time and description of each last beat.

        These times are for display. No decision about a stream may depend on them.
        """

    async def tidy(self, now: float, max_bytes: int) -> bool:
        """Do one bounded step of housekeeping; return True if there is more work now.

        The store merges the segments of ended streams into large segments, and keeps offsets and
        text the same. It may merge the segments of live streams too. It deletes streams that are
        due at ``now`` (a wall time) in batches, except ``pending`` and ``streaming`` streams, and
        it returns free space to the disk. One step rewrites about ``max_bytes``, so that no writer
        waits long. Several processes may call ``tidy`` at the same time.
        """


class Notifier(Protocol):
    """Hints between processes that streams have changed. A hint carries no text.

    A lost hint costs latency, never data, because every process also polls the store.
    """

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        """Begin to call ``on_hint``, on this event loop, with the streams that others changed.

        ``None`` means that any stream may have changed, because hints were lost or were too many.
        Hints about this process's own changes are allowed.
        """

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        """Send a hint about these streams to all other processes, after the streams' commit.

        ``notify`` does not raise if its connection is lost; the hint is then lost too.
        """

    def watch(self, watching: bool) -> None:
        """Set whether this process waits for hints. If not, a notifier that polls may pause."""

    async def close(self) -> None:
        """Stop calling ``on_hint`` and release all resources."""


class Clock(Protocol):
    """Two kinds of time, which must not be mixed up."""

    def monotonic(self) -> float:
        """Return seconds that never jump, for waits and leases."""

    def wall(self) -> float:
        """Return seconds since the Unix epoch. They serve expiry and display.

        No decision that protects data may depend on this time.
        """
