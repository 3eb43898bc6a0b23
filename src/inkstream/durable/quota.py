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
_COUNTS_APART: Final = 100


class Quota:
    """Limit the number of an owner's streams, without counting the streams for every new stream.

    This process counts the owner's streams. The count gives *places*: as many new streams as the
    process may create before it counts again. There are places for an eighth of the streams that
    are still allowed. If a hundredth of the limit is more than this eighth, there are places for a
    hundredth of the limit, but never for more streams than are still allowed.

    Unused places are lost after ``RECOUNT_S``, because other processes may have created streams in
    the meantime. If a hundred times the duration of the count is longer than ``RECOUNT_S``, unused
    places are lost after this longer time.

    Processes do not know of each other's places. So several processes together may exceed the
    limit: each process by at most the places of one count. Up to eight processes that create
    streams equally fast exceed the limit by at most a twelfth of the limit, or by seven streams if
    that is more. At the limit, this process notices deletions of other processes within
    ``RECOUNT_S``.
    """

    def __init__(self, engine: Engine, owner: str, max_streams: int) -> None:
        self._engine = engine
        self._owner = owner
        self._max_streams = max_streams
        self._left = 0
        self._full = False
        self._count_until = -math.inf
        self._counting = asyncio.Lock()
        self._under_way = 0
        self._settled = asyncio.Event()
        self._settled.set()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place for a new stream, or raise ``TooManyStreams``.

        If the ``async with`` block raises an error, the place becomes free again.
        """
        async with self._counting:
            if self._is_outdated():
                # Let running creations finish first. Otherwise it would be unclear whether the
                # count includes them.
                await self._settled.wait()
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
        """Add a place after this process deleted a stream, if ``owner`` is this quota's owner."""
        if owner == self._owner:
            self._left += 1

    def _is_outdated(self) -> bool:
        if self._engine.clock.monotonic() >= self._count_until:
            return True
        return self._left < 1 and not self._full

    async def _count(self) -> None:
        began = self._engine.clock.monotonic()
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
        self._full = room < 1
        # Near the limit, an eighth of the room is only a few streams, and nearly each creation
        # would count all streams. So the next count may also wait for a hundredth of the limit.
        places = max(1, room // _SHARE, min(room, self._max_streams // _FLOOR))
        self._left = 0 if self._full else places
        now = self._engine.clock.monotonic()
        long_s = 0.0 if self._full else _COUNTS_APART * (now - began)
        self._count_until = now + max(RECOUNT_S, long_s)
