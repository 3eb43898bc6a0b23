"""How long a connection may go on: until it is too old, or its caller may no longer read."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

from inkstream.abc import Clock
from inkstream.engine.reader import ReaderCut
from inkstream.http.connection import HTTPSettings

_log = logging.getLogger("inkstream")

_JITTER: Final = 0.25
"""Readers that came at once, after a deploy say, do not all come back at once."""

RETRY: Final = b"retry: 200\n\n"
"""Goes before a cut by age: an ``EventSource`` is back at once. The next answer sets it anew."""


def jittered(seconds: float) -> float:
    """Return a quarter more or less."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)


class Lifetime:
    """The bounds of one connection. It is looked at after a send, so a ping may pass before it.

    Args:
        clock: The engine's.
        settings: Has both times.
        cut_by_age: Whether the clients of this format take a cut for a reason to reconnect.
        allowed: Asks again whether this caller may read; ``None``: nothing to ask.
    """

    __slots__ = ("_again_s", "_allowed", "_ask_at", "_clock", "_until", "due_at")

    def __init__(
        self,
        clock: Clock,
        settings: HTTPSettings,
        *,
        cut_by_age: bool,
        allowed: Callable[[], Awaitable[bool]] | None,
    ) -> None:
        now = clock.monotonic()
        self._clock = clock
        self._allowed = allowed
        again_s = settings.authorize_again_s
        self._again_s = math.inf if allowed is None or again_s is None else again_s
        self._ask_at = now + self._again_s
        self._until = math.inf
        if cut_by_age and settings.life_s is not None:
            self._until = now + jittered(settings.life_s)
        self.due_at = min(self._until, self._ask_at)

    @property
    def is_over(self) -> bool:
        """Whether the connection is too old."""
        return self._clock.monotonic() >= self._until

    async def check(self) -> None:
        """Look whether the connection may go on.

        Raises:
            ReaderCut: It may not.
        """
        now = self._clock.monotonic()
        if now >= self._until:
            raise ReaderCut
        if now >= self._ask_at:
            if self._allowed is not None and not await self._is_allowed():
                raise ReaderCut
            self._ask_at = now + self._again_s
        self.due_at = min(self._until, self._ask_at)

    async def _is_allowed(self) -> bool:
        assert self._allowed is not None
        try:
            return await self._allowed()
        except Exception:
            _log.exception("authorize raised: the reader is cut, and will ask again")
            return False
