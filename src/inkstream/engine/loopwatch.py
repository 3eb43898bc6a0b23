"""Lets the event loop run between two messages of a source that blocks it.

Some sources wait for nothing between two messages, or wait in a synchronous call. While such a
source runs, the loop cannot run: it neither commits nor sends text, and all other streams of the
engine wait.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from inkstream._events import LogEvent, facts
from inkstream._types import StreamId
from inkstream.engine.buffer import FEW_PIECES, Buffer
from inkstream.engine.calendar import Calendar
from inkstream.engine.condition import BLOCKED_S, REMEDY

_log = logging.getLogger("inkstream")

_MOST_PIECES: Final = 64
"""The largest number of messages between two looks."""
_MOST_S: Final = 0.05
"""A source blocks the loop if it keeps the loop from running for longer than this."""
_SHARE: Final = 0.1
"""The time that the loop gets after a block, divided by the time of the block."""


class LoopWatch:
    """Check between some of a writer's messages whether the event loop has run, and let it run.

    Such a check, a *look*, reads the clock, which may cost as much as an ``append``. So there is
    no look for most messages: the watch tells the writer's buffer how many messages to accept
    before the next look. A commit empties the buffer, so a writer with regular commits needs few
    looks. While the loop does not run, the number of messages between two looks doubles, until the
    watch lets the loop run. After a block, the next look comes before the next message.
    """

    __slots__ = (
        "_began_at",
        "_blocked_s",
        "_buffer",
        "_clock",
        "_look_every",
        "_loop_ran",
        "_stream_id",
    )

    def __init__(self, stream_id: StreamId, buffer: Buffer, clock: Calendar) -> None:
        self._stream_id = stream_id
        self._buffer = buffer
        self._clock = clock
        self._blocked_s = 0.0
        """The time for which the source has blocked the loop between messages, in total."""
        self._begin(look_every=FEW_PIECES)

    async def look(self) -> None:
        """Let the loop run now, if it has not run for too many messages or for too long.

        If its buffer is ``busy``, a writer must call this method before it accepts a message.
        """
        if self._loop_ran:
            self._begin(look_every=FEW_PIECES)
            return
        blocked_s = self._clock.monotonic() - self._began_at
        if blocked_s > _MOST_S:
            self._say_blocked(blocked_s)
            # A single turn of the loop is too short for a commit, which a thread or a server makes.
            await asyncio.sleep(_SHARE * blocked_s)
            self._begin(look_every=1)
        elif self._look_every < _MOST_PIECES // 2:
            self._look_every *= 2
            self._buffer.look_after(self._look_every)
        else:
            await asyncio.sleep(0)
            self._begin(look_every=_MOST_PIECES)

    def _begin(self, *, look_every: int) -> None:
        self._look_every = look_every
        self._buffer.first_look = min(look_every, FEW_PIECES)
        self._buffer.look_after(look_every)
        self._began_at = self._clock.monotonic()
        self._loop_ran = False  # until the loop runs the callback
        asyncio.get_running_loop().call_soon(self._see_loop_run)

    def _see_loop_run(self) -> None:
        self._loop_ran = True

    def _say_blocked(self, blocked_s: float) -> None:
        before, self._blocked_s = self._blocked_s, self._blocked_s + blocked_s
        if before <= BLOCKED_S < self._blocked_s:
            _log.warning(
                "the code that writes stream %r blocks the event loop between its messages: its "
                "text comes late, and the other streams of this process wait. %s",
                self._stream_id,
                REMEDY,
                extra=facts(
                    LogEvent.LOOP_BLOCKED,
                    seconds=self._blocked_s,
                    task=f"the source of stream {self._stream_id!r}",
                ),
            )
