"""Limit how many streams clients can create over the protocol."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from inkstream._errors import TooManyStreams
from inkstream._types import Query
from inkstream.engine.engine import Engine

RECOUNT_S: Final = 30.0
_SHARE: Final = 8
_FLOOR: Final = 100
_PAGE: Final = 1000


class Quota:
    """Limit the number of an owner's streams, without counting the streams for every new stream.

    After a count, this process may use an eighth of the free places before it counts again. If a
    hundredth of all places is more than this eighth, the process may use this hundredth, or all
    free places if fewer are free. So up to eight processes that create streams equally fast exceed
    the limit by at most a twelfth. More processes, or a process that was idle since its count, may
    exceed the limit by more. At the limit, this process notices deletions by other processes within
    ``RECOUNT_S``.
    """

    def __init__(self, engine: Engine, owner: str, max_streams: int) -> None:
        self._engine = engine
        self._owner = owner
        self._max_streams = max_streams
        self._left = 0
        self._full_until = -math.inf
        self._counting = asyncio.Lock()
        self._under_way = 0
        self._settled = asyncio.Event()
        self._settled.set()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Reserve a place for a stream, and free the place if the stream is not created.

        Raises:
            TooManyStreams: No place is free.
        """
        async with self._counting:
            if self._left < 1:
                await (
                    self._settled.wait()
                )  # a creation that still runs may or may not be in the count
                await self._count()
            if self._left < 1:
                raise TooManyStreams(
                    f"{self._max_streams} streams exist already: delete some",
                    limit=self._max_streams,
                )
            self._left -= 1
            self._under_way += 1
            self._settled.clear()
        try:
            yield
        except BaseException:
            self._left += 1
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._settled.set()

    def deleted(self, owner: str | None) -> None:
        """Note that this process deleted a stream of ``owner``."""
        if owner == self._owner:
            self._left += 1

    async def _count(self) -> None:
        now = self._engine.clock.monotonic()
        if now < self._full_until:
            return
        found, before = 0, None
        while found < self._max_streams:
            page = await self._engine.readers.find(
                Query(owner=self._owner, before=before, limit=_PAGE)
            )
            found += len(page)
            if len(page) < _PAGE:
                break
            before = page[-1].internal_id
        room = self._max_streams - found
        if room < 1:
            self._full_until = now + RECOUNT_S
        else:
            # Near the limit, an eighth of the room is less than one stream. Without the hundredth
            # of the limit, each creation near the limit would count all streams.
            self._left = max(1, room // _SHARE, min(room, self._max_streams // _FLOOR))
