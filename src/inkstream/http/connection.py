"""The connection to one client: disconnects, pings and deadlines while a stream is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from starlette.types import Message, Receive, Send

from inkstream._arguments import check_seconds
from inkstream.abc import Clock
from inkstream.engine.reader import Reader
from inkstream.engine.sampling import Sampling

_log = logging.getLogger("inkstream")

_PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """Times for connections, in seconds.

    Attributes:
        ping_s: The server sends a comment after this long without any other data, because proxies
            close silent connections. Plain text and JSON have no comments.
        send_timeout_s: The server stops sending to a client that accepts no data for this long.
        retry_s: How long a browser's ``EventSource`` waits before it reconnects.
        life_s: A connection in the format ``events`` ends after about this long (up to a quarter
            more or less), and the client reconnects. So a server that stops need not wait for old
            connections, and readers move to new processes. Other formats have this limit only with
            ``Format.cut_by_age``, because most of their clients do not reconnect by themselves.
            ``None``: no limit.
        authorize_again_s: The ready-made routes call ``authorize`` again after this long, at the
            next ping or text. If ``authorize`` then denies access, the connection ends without a
            terminal event. In a response that follows many streams, only the denied stream ends.
            ``None``: the routes call ``authorize`` only at the start of a request.
        authorize_timeout_s: If a call of ``authorize`` takes longer, the server cancels the call
            and answers 503, code ``check_failed``. If the response has already begun, the server
            stops sending this stream instead.
    """

    ping_s: float = 15.0
    send_timeout_s: float = 30.0
    retry_s: float = 1.0
    life_s: float | None = 60.0
    authorize_again_s: float | None = 60.0
    authorize_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        check_seconds("HTTPSettings.ping_s", self.ping_s, zero=False)
        check_seconds("HTTPSettings.send_timeout_s", self.send_timeout_s, zero=False)
        check_seconds("HTTPSettings.retry_s", self.retry_s)
        check_seconds("HTTPSettings.life_s", self.life_s, none=True, zero=False)
        check_seconds(
            "HTTPSettings.authorize_again_s", self.authorize_again_s, none=True, zero=False
        )
        check_seconds("HTTPSettings.authorize_timeout_s", self.authorize_timeout_s, zero=False)


class ClientGone(Exception):
    """The client left, or accepts no data."""


class Waits(Protocol):
    """An object whose wait a connection can end: a reader, or a bundle of readers."""

    alarm: Callable[[], None]
    alarm_at: float

    def interrupt(self) -> None:
        """End the current wait, or the next wait if nothing waits now."""

    def close(self) -> None:
        """Stop reading."""


class Connection:
    """Send to a client that may leave at any time, or stop reading.

    Use this context manager around the whole response. After ``ping_s`` without a send, the
    connection interrupts the wait of ``reader``, so that the response can send a ping.

    Attributes:
        gone: Whether the client has left or was too slow. If true, every further send raises
            ``ClientGone``.
        sent_at: When the last send or the last call of ``idle`` began, on the engine's clock.
    """

    __slots__ = (
        "_clock",
        "_ping_s",
        "_reader",
        "_receive",
        "_send",
        "_send_timeout_s",
        "_sending",
        "_sends",
        "_stuck",
        "_task",
        "_watch",
        "gone",
        "sent_at",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        reader: Waits,
        clock: Clock,
        settings: HTTPSettings,
        sends: Sampling | None = None,
    ) -> None:
        self._sends = sends
        self._receive = receive
        self._send = send
        self._reader = reader
        self._clock = clock
        self._ping_s = settings.ping_s
        self._send_timeout_s = settings.send_timeout_s
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._stuck = False
        self._sending = False
        self.gone = False
        self.sent_at = clock.monotonic()

    async def __aenter__(self) -> Self:
        self._reader.alarm = self._ring
        self._watch = asyncio.get_running_loop().create_task(self._watch_for_disconnect())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()
        assert self._watch is not None
        if not self._watch.done():
            self._watch.cancel()
        await asyncio.wait((self._watch,))

    async def _watch_for_disconnect(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except OSError:
            pass  # some servers raise OSError if the client has left
        except Exception:
            _log.exception("receive() raised an error, so the connection to this client ends")
        self.gone = True
        # The reader's alarm ends a send that takes too long. A closed reader has no alarm. So do
        # not close the reader during a send, because the send might then never end.
        if not self._sending:
            self._reader.close()

    async def send(self, message: Message) -> None:
        """Send one ASGI message. A large body is sent in portions.

        Raises:
            ClientGone: The client left, or accepted no portion for ``send_timeout_s``.
        """
        if len(message.get("body", b"")) > _PIECE_BYTES:
            message = await self._send_all_but_last(message)
        if self.gone:
            # Some servers silently discard data after the client has left. Without this error, the
            # response would send a long text to its end for nobody.
            raise ClientGone
        before = self.sent_at
        self.sent_at = now = self._clock.monotonic()
        self._reader.alarm_at = now + self._send_timeout_s
        self._sending = True
        try:
            await self._send(message)
        except OSError as exc:
            self.gone = True
            raise ClientGone from exc
        except asyncio.CancelledError:
            self.gone = True
            if self._stuck and self._task is not None and self._task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self._sending = False
        if self.gone:
            raise ClientGone
        self._reader.alarm_at = now + self._ping_s
        sends = self._sends
        if sends is not None:
            sends.left -= 1
            if not sends.left:
                self._measure(sends, before)

    async def _send_all_but_last(self, message: Message) -> Message:
        """Send a large body in portions, and return a message with the last portion.

        A server may accept one portion more than its buffer has room for. If the client does not
        read, that portion stays in the server's memory long after ``send_timeout_s``. So portions
        are small.
        """
        body: bytes = message["body"]
        last = (len(body) - 1) // _PIECE_BYTES * _PIECE_BYTES
        for start in range(0, last, _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        return {**message, "body": body[last:]}

    def _measure(self, sends: Sampling, before: float) -> None:
        """Record the seconds from a commit to the send of its text. For a ping, record nothing."""
        sends.chosen()
        reader = self._reader
        if isinstance(reader, Reader) and reader.tail.local and reader.tail.published_at > before:
            sends.record(max(0.0, self._clock.monotonic() - reader.tail.published_at))

    def idle(self) -> None:
        """Set the time of the next alarm without a send, for formats that have no pings."""
        self.sent_at = self._clock.monotonic()
        self._reader.alarm_at = self.sent_at + self._ping_s

    def _ring(self) -> None:
        """End a send that takes too long, or end the reader's wait because a ping may be due."""
        if not self._sending:
            self._reader.interrupt()
        elif self._task is not None:
            self._stuck = True
            self._task.cancel()
