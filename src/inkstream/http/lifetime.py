"""End a connection that is too old, or whose caller may no longer read."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

from inkstream.abc import Clock
from inkstream.engine.reader import ReaderSentAway
from inkstream.http.connection import HTTPSettings

_log = logging.getLogger("inkstream")

_JITTER: Final = 0.25
"""Times vary by up to this share, so that readers do not all reconnect at the same moment."""

RETRY: Final = b"retry: 200\n\n"
"""The last line of a connection that ends because of its age.

``EventSource`` then reconnects after 0.2 s. The next response sets the usual delay again.
"""


def jittered(seconds: float) -> float:
    """Return ``seconds``, changed at random by up to a quarter."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)


class Lifetime:
    """The time limits of one connection.

    If ``cut_by_age`` is true, the connection ends after about ``settings.life_s``. ``allowed``
    returns whether the caller may still read. If ``allowed`` is ``None``, the caller may always
    read.

    The response goes on sending while ``allowed`` runs, so a slow ``authorize`` delays no text.
    If the caller may no longer read, this object calls ``interrupt``, which ends the response's
    wait, so that the response calls ``check``. At the end of the response, call ``stop``.
    """

    __slots__ = (
        "_again_s",
        "_allowed",
        "_ask_at",
        "_asking",
        "_clock",
        "_denied",
        "_interrupt",
        "_until",
        "due_at",
    )

    def __init__(
        self,
        clock: Clock,
        settings: HTTPSettings,
        *,
        cut_by_age: bool,
        allowed: Callable[[], Awaitable[bool]] | None,
        interrupt: Callable[[], None],
    ) -> None:
        now = clock.monotonic()
        self._clock = clock
        self._allowed = allowed
        self._interrupt = interrupt
        self._asking: asyncio.Task[None] | None = None
        self._denied = False
        again_s = settings.authorize_again_s
        self._again_s = math.inf if allowed is None or again_s is None else again_s
        self._ask_at = now + self._again_s
        self._until = math.inf
        if cut_by_age and settings.life_s is not None:
            self._until = now + jittered(settings.life_s)
        self.due_at = min(self._until, self._ask_at)

    @property
    def is_over(self) -> bool:
        """Return whether the connection is too old."""
        return self._clock.monotonic() >= self._until

    def check(self) -> None:
        """Raise ``ReaderSentAway`` if the connection is too old or its caller may not read."""
        now = self._clock.monotonic()
        if self._denied or now >= self._until:
            raise ReaderSentAway
        if now >= self._ask_at:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            self._ask_at = now + self._again_s
        self.due_at = min(self._until, self._ask_at)

    async def _ask(self) -> None:
        assert self._allowed is not None
        allowed = False
        try:
            allowed = await self._allowed()
        except Exception:
            _log.exception("authorize raised an error, so the connection to this client ends")
        finally:
            self._asking = None
            if not allowed:
                self._denied = True
                self.due_at = -math.inf
                self._interrupt()

    async def stop(self) -> None:
        """Cancel a call of ``allowed`` that still runs."""
        asking = self._asking
        if asking is not None:
            asking.cancel()
            await asyncio.wait((asking,))
