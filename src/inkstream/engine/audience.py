"""Finds out whether a stream still has readers, for ``on_disconnect="cancel"`` (G6).

A process knows only its own readers. So the writer's process asks the other processes by setting
the stream's ``due_at``. A process that has or gets a reader of the stream clears ``due_at`` (see
``Tails.absorb``). If ``due_at`` is still set after ``Timing.disconnect_grace_s`` (but at least
4 s), the writer's process cancels the stream.
"""

from __future__ import annotations

import asyncio

from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import Change, Status
from inkstream.engine.changes import CANCELLED, Changes
from inkstream.engine.core import Core
from inkstream.engine.writer import Writer

_LOOK_S = 1.0
"""The time before each check. Before the first check, the page has time to request the stream."""


class Audience:
    """Watch for readers of one stream, in all processes."""

    def __init__(self, core: Core, changes: Changes, writer: Writer) -> None:
        self._writer = writer
        self._store = core.store
        self._changes = changes
        self._clock = core.clock
        # Without hints, a process sees ``due_at`` only at its next poll, so the grace is at least
        # twice the pause between two polls.
        self._grace_s = max(core.timing.disconnect_grace_s, 2 * core.timing.poll_s)

    async def cancel_when_gone(self) -> None:
        """Cancel the stream when it has had no reader in any process for ``_grace_s`` seconds.

        If the last reader was in another process, the cancel may come only after twice this time.
        The caller cancels this coroutine when the source ends.
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
                asked_at = None  # other processes may have failed to clear due_at, so ask again
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
