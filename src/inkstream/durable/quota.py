"""How many streams may be made over the protocol."""

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
    """Keep the streams of an owner below a number, without counting them for each that is made.

    After a count an eighth of the room found is given out before the next, and not less than a
    hundredth of the number if there is room for it. So up to eight processes that make streams at
    once overstep the number by a twelfth at most; more may go further. Deletions elsewhere are
    noticed within ``RECOUNT_S``.
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
        """Take a stream's place, and give it back if the stream does not come to be.

        Raises:
            TooManyStreams: There is none.
        """
        async with self._counting:
            if self._left < 1:
                await self._settled.wait()  # what is under way may or may not be counted
                await self._count()
            if self._left < 1:
                raise TooManyStreams(
                    f"there are {self._max_streams} streams already: delete some",
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
        """Note that a stream of an owner was deleted here."""
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
            # Near the limit an eighth is one: without a floor, all would be counted for each.
            self._left = max(1, room // _SHARE, min(room, self._max_streams // _FLOOR))
