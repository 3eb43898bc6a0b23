"""The facade for a synchronous application."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from starlette.requests import Request
from starlette.types import Message

from inkstream._arguments import as_items, check_seconds
from inkstream._errors import StoreError
from inkstream._types import JSON, Kind, Status, StreamBody, StreamId, StreamState
from inkstream.engine.generation import Source
from inkstream.engine.observer import Observer
from inkstream.engine.settings import Limits, Timing
from inkstream.facade import handles, streaming
from inkstream.facade.calls import DEFAULT_RETENTION, OnDisconnect
from inkstream.facade.handles import Listing
from inkstream.http.connection import HTTPSettings
from inkstream.http.formats import Format
from inkstream.operations.description import StreamDescription
from inkstream.operations.health import Health
from inkstream.sync._answer import Exchange, StreamAnswer, environ_of, scope_of
from inkstream.sync._handles import Following, StreamWriter
from inkstream.sync._loop import LoopThread, abandon, at_once, this_process

T = TypeVar("T")

_DEFAULT: Final[Any] = DEFAULT_RETENTION


class PersistentTextStreaming:
    """Stream text to its readers and store it in a database, without an event loop.

    Each method except ``stop`` is the blocking form of the method of
    ``inkstream.PersistentTextStreaming`` with this name. Any thread may call the methods. A
    ``connection`` must be synchronous (psycopg, SQLAlchemy, ``sqlite3``), and is used only on the
    caller's thread.

    Args:
        database: As in ``inkstream``, but only a URL or an engine, because pools belong to one
            event loop.
        on_end: As in ``inkstream``, but a plain function, which is called on another thread.
        limits, timing, http, observer: As in ``inkstream``.
    """

    def __init__(
        self,
        database: Any = None,
        *,
        on_end: Callable[[StreamBody], None] | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
        http: HTTPSettings | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._database = database
        self._on_end = on_end
        self._limits = limits
        self._timing = timing
        self._http = http
        if on_end is not None and (not callable(on_end) or inspect.iscoroutinefunction(on_end)):
            raise TypeError(f"on_end must be a plain function here, not {on_end!r:.80}")
        # A notebook may replace an instance without calling stop(). Without this finalizer, the old
        # instance would keep its files and threads.
        self._key = object()
        weakref.finalize(self, abandon, self._key).atexit = False
        try:
            self._make()  # a wrong URL must raise an error now, not at the first call
        except BaseException:
            del database  # a traceback may show this variable, which contains the password
            raise

    def _make(self) -> streaming.PersistentTextStreaming:
        on_end = self._on_end

        async def report(body: StreamBody) -> None:
            assert on_end is not None
            await asyncio.to_thread(on_end, body)

        return streaming.PersistentTextStreaming(
            self._database,
            on_end=None if on_end is None else report,
            limits=self._limits,
            timing=self._timing,
            http=self._http,
            observer=self._observer,
        )

    def _started(self) -> tuple[LoopThread, streaming.PersistentTextStreaming]:
        """Return this process's running instance. If there is none, start it."""
        thread = this_process()
        return thread, thread.running(self._key, self._make)

    def _keep(self, task: object) -> None:
        """Do nothing. A task that has a reference to this method keeps the instance alive."""

    def _call(
        self,
        call: Callable[[streaming.PersistentTextStreaming], Coroutine[Any, Any, T]],
        connection: object | None = None,
    ) -> T:
        if inspect.iscoroutinefunction(getattr(connection, "execute", None)):
            raise TypeError(f"connection must be synchronous, not {connection!r}")
        thread, streams = self._started()
        return thread.call(call(streams)) if connection is None else at_once(call(streams))

    def stop(self) -> None:
        """Stop this instance in this process: end the running streams, and close the database.

        A normal end of the process does the same. The next call of a method starts the instance
        again.
        """
        this_process().leave(self._key)

    # Writing -----------------------------------------------------------------------------------

    def create(
        self,
        stream_id: str | None = None,
        *,
        owner: str | None = None,
        group: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
        kind: Kind | Literal["text", "log"] = Kind.TEXT,
        start_within_s: float | None = None,
        retain_s: float | None = _DEFAULT,
        takeover_within_s: float | None = None,
        begin: Sequence[str | Mapping[str, JSON]] = (),
        connection: object | None = None,
    ) -> StreamId:
        """Create a stream and return its id.

        On return, the stream is durable. With ``connection``, it becomes durable when the caller's
        transaction commits. ``inkstream.PersistentTextStreaming.create`` describes the arguments.

        Raises:
            StreamExists: The id is taken.
            TooManyStreams: The owner has as many live streams as ``Limits`` allows.
            InvalidStreamId, InvalidMessage, LimitExceeded, StoreUnavailable
        """
        return self._call(
            lambda streams: streams.create(
                stream_id,
                owner=owner,
                group=group,
                metadata=metadata,
                kind=kind,
                start_within_s=start_within_s,
                retain_s=retain_s,
                takeover_within_s=takeover_within_s,
                begin=begin,
                connection=connection,
            ),
            connection,
        )

    def start(
        self, stream_id: str, source: Source, *, on_disconnect: OnDisconnect = "continue"
    ) -> None:
        """Let a source write a stream in the background, and do not wait for the source (G6).

        If the stream is claimed already or has ended, the source is not called (G4). A plain
        generator function runs on a separate thread. If the process stops before the answer is
        complete, the stream ends ``error``, code ``shutdown``. If the process is killed, another
        worker ends the stream ``timeout``, or keeps the stream for a take-over. For answers that
        must survive the process, use a job queue and ``write``.

        Args:
            stream_id: The stream's id. If the stream does not exist yet, the start waits for the
                stream, at most ``Timing.appears_within_s``.
            source: See ``Source``.
            on_disconnect: ``"cancel"`` ends the stream ``cancelled`` after it had no reader in any
                process for ``Timing.disconnect_grace_s`` (at least 4 s). If the last reader was in
                another process, the stream may end only after twice this time.

        Raises:
            TypeError: The source has a wrong type.
            TooManyStreams: This process has as many streams as ``Limits.live_streams`` allows.
            ShuttingDown: This process is draining. After ``TooManyStreams`` or ``ShuttingDown``,
                the stream is still ``pending``.
        """

        async def start(streams: streaming.PersistentTextStreaming) -> None:
            task = streams.start(stream_id, source, on_disconnect=on_disconnect)
            task.add_done_callback(self._keep)

        self._call(start)

    @contextlib.contextmanager
    def write(self, stream_id: str, *, takeover: bool = False) -> Iterator[StreamWriter]:
        """Claim a stream, and end it when the block ends. Use this in jobs and other processes.

        The stream ends ``done`` when the block ends, and ``error`` when the block raises an error.
        For another end, call ``finish`` inside the block. To let go of the stream, call
        ``release``.

        Args:
            stream_id: The stream.
            takeover: Also take over a stream whose writer died or let go.

        Raises:
            NotClaimed: The stream has a living writer, has ended, or needs ``takeover``.
            StreamConflict: The stream is a log.
            StreamNotFound, ShuttingDown, TooManyStreams, StoreUnavailable
        """
        thread, streams = self._started()
        writing = streams.write(stream_id, takeover=takeover)

        async def leave(error: BaseException | None) -> BaseException | None:
            try:
                await writing.__aexit__(None if error is None else type(error), error, None)
            except BaseException as exc:
                # A KeyboardInterrupt that is raised here would interrupt the event loop.
                return exc
            return None

        writer = StreamWriter(thread, thread.call(writing.__aenter__()))
        try:
            yield writer
        except BaseException as exc:
            if not thread.here:
                raise  # a child that was forked inside the block does not write the stream
            raised = thread.call(leave(exc))
            if raised is None or raised is exc:
                raise
            raise raised from exc
        raised = thread.call(leave(None))
        if raised is not None:
            raise raised

    def post(
        self,
        stream_id: str,
        *messages: str | Mapping[str, JSON],
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> str:
        """Append messages to a log.

        On return, the messages are durable. With ``connection``, they become durable when the
        caller's transaction commits.

        Returns:
            The offset after the last message.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamEnded, StreamConflict, InvalidMessage, StoreUnavailable
        """
        return self._call(
            lambda streams: streams.post(
                stream_id, *messages, owner=owner, group=group, connection=connection
            ),
            connection,
        )

    def close(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """Close a log, so that nothing more can be posted. Return whether this call closed it.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream is a text stream.
        """
        return self._call(
            lambda streams: streams.close(
                stream_id, owner=owner, group=group, connection=connection
            ),
            connection,
        )

    def cancel(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """End a text stream ``cancelled``, in whatever process its writer runs.

        On return, the end is durable. With ``connection``, the end becomes durable when the
        caller's transaction commits.

        Returns:
            Whether this call ended the stream.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream is a log.
        """
        return self._call(
            lambda streams: streams.cancel(
                stream_id, owner=owner, group=group, connection=connection
            ),
            connection,
        )

    def delete(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """Delete a stream with its text. Stop the stream's writer, and disconnect the readers.

        Returns:
            Whether the stream existed with the owner and group given.
        """
        return self._call(
            lambda streams: streams.delete(
                stream_id, owner=owner, group=group, connection=connection
            ),
            connection,
        )

    def delete_all(
        self,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> int:
        """Delete all streams with the given owner and group, in batches. Return how many existed.

        Give ``owner``, ``group`` or both. With ``connection``, the streams are deleted only if the
        caller's transaction commits.
        """
        return self._call(
            lambda streams: streams.delete_all(owner=owner, group=group, connection=connection),
            connection,
        )

    # Reading -----------------------------------------------------------------------------------

    def read(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Return a stream as it is stored now.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream contains bytes, not messages.
        """
        return self._call(lambda streams: streams.read(stream_id, owner=owner, group=group))

    def read_many(
        self, stream_ids: Collection[str], *, owner: str | None = None, group: str | None = None
    ) -> dict[str, StreamBody]:
        """Return the streams that exist (with the owner and group given), by id.

        Raises:
            StreamConflict: A stream contains bytes, not messages.
        """
        ids: Sequence[str] = as_items("stream_ids", stream_ids)
        return self._call(lambda streams: streams.read_many(ids, owner=owner, group=group))

    def list(
        self,
        *,
        owner: str | None = None,
        group: str | None = None,
        status: Status | str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Listing:
        """Return streams without their text, newest first, a page at a time."""
        return self._call(
            lambda streams: streams.list(
                owner=owner, group=group, status=status, cursor=cursor, limit=limit
            )
        )

    def latest(self, *, owner: str | None = None, group: str | None = None) -> StreamState | None:
        """Return the newest text stream with the given owner and group, without its text.

        Give ``owner``, ``group`` or both. For example, when the page of a chat is loaded again, a
        route can find the chat's answer.
        """
        return self._call(lambda streams: streams.latest(owner=owner, group=group))

    def follow(
        self,
        stream_id: str,
        offset: str | None = None,
        *,
        owner: str | None = None,
        group: str | None = None,
    ) -> Following:
        """Return an iterator over a stream as it grows: text, JSON objects, and the ``End`` last.

        The iterator blocks until an item arrives. To continue later, pass ``Following.offset`` as
        ``offset``. With ``"now"`` as ``offset``, the iterator returns what is committed after this
        call. Close the iterator, or use it in a ``with`` block, unless you iterate to the stream's
        end.

        Raises (when you call ``follow``, before a view has sent its headers):
            StreamNotFound, InvalidOffset, OffsetGone, TooManyReaders, ShuttingDown
            StreamConflict: The stream contains bytes, not messages.
        """

        async def follow(streams: streaming.PersistentTextStreaming) -> handles.Following:
            following = streams.follow(stream_id, offset, owner=owner, group=group)
            await following.check()
            return following

        thread, _ = self._started()
        return Following(self, thread, self._call(follow))

    def describe(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamDescription:
        """Return what is known about a stream except its text, and why it is in its state.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StoreUnavailable
        """
        return self._call(lambda streams: streams.describe(stream_id, owner=owner, group=group))

    def health(self, *, within_s: float = 2.0) -> Health:
        """Return whether this process can serve requests. A failed check raises no error.

        If the instance is not started, this call starts it, which may take longer than
        ``within_s``. If the start fails, the result is not ready (``"not_started"`` and
        ``"store_away"``), but live, because a later call may succeed.
        """
        check_seconds("within_s", within_s, zero=False)
        try:
            self._started()
        except StoreError:
            return Health(True, False, ("not_started", "store_away"))
        return self._call(lambda streams: streams.health(within_s=within_s))

    def wait(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Wait until a stream has ended, and return it.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream contains bytes, not messages.
        """
        return self._call(lambda streams: streams.wait(stream_id, owner=owner, group=group))

    # HTTP --------------------------------------------------------------------------------------

    def response(
        self,
        request: object,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        format: str | Format | None = None,  # noqa: A002 - the word on the wire
        headers: Mapping[str, str] | None = None,
    ) -> StreamAnswer:
        """Return the response that follows a stream from the request's offset; see docs/wsgi.md.

        The response's status is known when this method returns. If the stream is absent, the
        response is a 404, after a short wait. A request for plain text gets a 406, because some
        WSGI servers end a response that broke off as if its text were complete.

        Args:
            request: A WSGI environment, or a request of Flask or Django.
            stream_id: The stream.
            owner: If the stream has another owner, the response is as for an absent stream.
            group: If the stream has another group, the response is as for an absent stream.
            format: ``"events"``, ``"json"``, a format of ``inkstream.formats``, or a ``Format`` of
                your own. The request then cannot choose a format.
            headers: Further headers of the response.
        """
        scope = scope_of(environ_of(request))

        async def begin(streams: streaming.PersistentTextStreaming) -> tuple[Exchange, Message]:
            answer = streams.response(
                Request(scope), stream_id, owner=owner, group=group, format=format, headers=headers
            )
            exchange = Exchange(answer, scope)
            try:
                return exchange, await exchange.next()
            except BaseException:
                await exchange.close()
                raise

        thread, _ = self._started()
        exchange, start = self._call(begin)
        return StreamAnswer(self, thread, exchange, start)
