"""Postpone the expiry of a stream while clients read the stream."""

from __future__ import annotations

from inkstream._errors import StoreUnavailable
from inkstream._types import KEEP, Change, StreamState
from inkstream.durable.protocol import renewed
from inkstream.engine.engine import Engine


class Renewal:
    """Renew the expiry of one stream while one client reads the stream."""

    def __init__(self, engine: Engine, state: StreamState) -> None:
        self._engine = engine
        self._state = state

    async def touch(self) -> None:
        """Renew the expiry unless the last renewal still suffices; see ``renewed``."""
        due_at = renewed(self._state, self._engine.clock.wall())
        if due_at is KEEP:
            return
        change = Change(internal_id=self._state.internal_id, due_at=due_at)
        try:
            done = await self._engine.changes.commit(self._state, change)
        except StoreUnavailable:
            return  # a failed renewal must not stop a read; the next access renews the expiry
        if isinstance(done, StreamState):
            self._state = done
