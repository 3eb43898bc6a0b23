"""One client's connection while a stream is sent over it: disconnects, pings and deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from starlette.types import Message, Receive, Send

from inkstream._arguments import check_seconds
from inkstream.abc import Clock
from inkstream.engine.reader import Reader
from inkstream.engine.sampling import Sampling

_log = logging.getLogger("inkstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """How connections are kept, in seconds.

    Attributes:
        ping_s: A comment goes out after this long without anything else; proxies cut silent ones.
        send_timeout_s: A client that takes nothing for this long is given up.
        retry_s: How long a browser's ``EventSource`` waits before it reconnects.
        life_s: A connection of ``events`` ends after about this long (a quarter more or less), and
            its client reconnects: a server that wants to stop does not wait for it, and readers
            spread over new processes. Only ``events`` are cut so, whose clients reconnect by
            themselves. ``None``: never.
        authorize_again_s: The mounts ask ``authorize`` again after this long, at the next ping or
            text. A reader that may no longer read is cut without a terminal event. ``None``: only
            a new request is asked about.
    """

    ping_s: float = 15.0
    send_timeout_s: float = 30.0
    retry_s: float = 1.0
    life_s: float | None = 60.0
    authorize_again_s: float | None = 60.0

    def __post_init__(self) -> None:
        check_seconds("HTTPSettings.ping_s", self.ping_s, zero=False)
        check_seconds("HTTPSettings.send_timeout_s", self.send_timeout_s, zero=False)
        check_seconds("HTTPSettings.retry_s", self.retry_s)
        check_seconds("HTTPSettings.life_s", self.life_s, none=True, zero=False)
        check_seconds(
            "HTTPSettings.authorize_again_s", self.authorize_again_s, none=True, zero=False
        )


class ClientGone(Exception):
    """The client left, or does not take what is sent to it: nothing more is spent on it."""


class Waits(Protocol):
    """What a connection waits with: a reader, or a bundle of them."""

    alarm: Callable[[], None]
    alarm_at: float

    def interrupt(self) -> None:
        """End the wait under way, or the next one."""

    def close(self) -> None:
        """Leave."""


class Connection:
    """Send to a client that may leave at any time, or stop reading.

    Use it around the whole response. When nothing was sent for ``ping_s``, the reader's wait is
    interrupted; a send that takes longer than ``send_timeout_s`` ends in ``ClientGone``.

    Attributes:
        gone: The client left or was given up; every further send raises ``ClientGone``.
        sent_at: When, on the engine's clock, the last send began.
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
            pass  # as some servers say it
        except Exception:
            _log.exception("receive failed: its client is taken for gone, and will reconnect")
        self.gone = True
        if not self._sending:  # a send under way keeps its deadline
            self._reader.close()

    async def send(self, message: Message) -> None:
        """Send one ASGI message within the deadline.

        Raises:
            ClientGone: The client left, or took nothing for too long.
        """
        if self.gone:
            # Servers take what is sent to nobody without a word: a long text would be read, and
            # sent, to its end.
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

    def _measure(self, sends: Sampling, before: float) -> None:
        """Record how late a send is, unless it is a ping: no commit came since the send before."""
        sends.chosen()
        reader = self._reader
        if isinstance(reader, Reader) and reader.tail.local and reader.tail.published_at > before:
            sends.record(max(0.0, self._clock.monotonic() - reader.tail.published_at))

    def idle(self) -> None:
        """Note that a wait was interrupted and nothing is to be sent: set the next alarm."""
        self.sent_at = self._clock.monotonic()
        self._reader.alarm_at = self.sent_at + self._ping_s

    def _ring(self) -> None:
        """Give up a send that takes too long, or a wait: it is time for a ping."""
        if not self._sending:
            self._reader.interrupt()
        elif self._task is not None:
            self._stuck = True
            self._task.cancel()
