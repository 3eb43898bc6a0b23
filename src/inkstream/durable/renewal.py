"""A sliding expiry, put off by each read."""

from __future__ import annotations

from inkstream._errors import StoreUnavailable
from inkstream._types import KEEP, Change, StreamState
from inkstream.durable.protocol import renewed
from inkstream.engine.engine import Engine


class Renewal:
    """The expiry of one stream, as one reader knows it."""

    def __init__(self, engine: Engine, state: StreamState) -> None:
        self._engine = engine
        self._state = state

    async def touch(self) -> None:
        """Put the expiry off if it is time to; what few commits that takes, ``renewed`` says."""
        due_at = renewed(self._state, self._engine.clock.wall())
        if due_at is KEEP:
            return
        change = Change(internal_id=self._state.internal_id, due_at=due_at)
        try:
            done = await self._engine.changes.commit(self._state, change)
        except StoreUnavailable:
            return  # reading goes on as long as it can; the next access tries again
        if isinstance(done, StreamState):
            self._state = done
