"""The readers of an answer that is to stop when it has none (G6).

A process knows its own readers only. So the writer's asks the others: it gives the stream a time
at which it is due (``due_at``), and a process that has a reader, or gets one, takes that time away
again (see ``Tails.absorb``). A question that stood for the whole grace without an answer says that
there was no reader.
"""

from __future__ import annotations

import asyncio

from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import Change, Status
from inkstream.engine.changes import CANCELLED, Changes
from inkstream.engine.core import Core
from inkstream.engine.writer import Writer

_LOOK_S = 1.0
"""Looks cost a wake-up a stream; and the page that asked has mostly come to read by the first."""


class Audience:
    """The readers of one stream, here and in other processes."""

    def __init__(self, core: Core, changes: Changes, writer: Writer) -> None:
        self._writer = writer
        self._store = core.store
        self._changes = changes
        self._clock = core.clock
        # Without hints, a reader's process sees the question at its next poll.
        self._grace_s = max(core.timing.disconnect_grace_s, 2 * core.timing.poll_s)

    async def cancel_when_gone(self) -> None:
        """Cancel the stream when it had no reader for the grace; cancel this with its source.

        That is at most twice the grace after a reader elsewhere has left.
        """
        tail = self._writer.tail
        tail.without_readers_since = self._clock.monotonic()
        asked_at: float | None = None
        while True:
            await asyncio.sleep(_LOOK_S)
            if tail.readers:
                continue
            try:
                if asked_at is None or asked_at < tail.without_readers_since:
                    await self._ask()
                    asked_at = self._clock.monotonic()
                elif self._clock.monotonic() - asked_at < self._grace_s:
                    continue
                elif await self._was_answered():
                    asked_at = None
                else:
                    await self._changes.end_stream(self._writer.state, CANCELLED)
                    return
            except StoreUnavailable:
                asked_at = None  # nor could others answer; it is tried for as long as it is written
            except StreamNotFound:
                return

    async def _ask(self) -> None:
        await self._changes.apply(
            self._writer.state,
            Change(
                internal_id=self._writer.internal_id,
                if_status=(Status.STREAMING,),
                if_epoch=self._writer.epoch,
                due_at=self._clock.wall() + self._grace_s,
            ),
        )

    async def _was_answered(self) -> bool:
        return (await self._store.read(self._writer.stream_id, 0, 0)).state.due_at is None
