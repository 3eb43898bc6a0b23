"""The sliding expiry of a stream, which each read renews."""

from __future__ import annotations

from inkstream._errors import StoreUnavailable
from inkstream._types import KEEP, Change, StreamState
from inkstream.durable.protocol import renewed
from inkstream.engine.engine import Engine


class Renewal:
    """The expiry of one stream, for one reader."""

    def __init__(self, engine: Engine, state: StreamState) -> None:
        self._engine = engine
        self._state = state

    async def touch(self) -> None:
        """Renew the expiry if that is due. ``renewed`` explains why few reads need a commit."""
        due_at = renewed(self._state, self._engine.clock.wall())
        if due_at is KEEP:
            return
        change = Change(internal_id=self._state.internal_id, due_at=due_at)
        try:
            done = await self._engine.changes.commit(self._state, change)
        except StoreUnavailable:
            return  # reading must not fail for this; the next access tries again
        if isinstance(done, StreamState):
            self._state = done
