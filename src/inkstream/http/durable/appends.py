"""Appends of many clients: those of one stream are decided together and commit in one batch.

Requests to one stream gather while a round is under way. A round reads the stream once, decides
about each request in the order of arrival, each seeing what the ones before it are going to leave
behind, and submits all changes at once. What another process made untrue is refused by the store
and decided again in the next round, ahead of those that came later.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from inkstream._errors import InkstreamError, InvalidInput, StoreUnavailable, StreamNotFound
from inkstream._types import Refused, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.http.durable.protocol import (
    Attempt,
    append,
    append_marks,
    foreseen,
    is_absent,
    too_many_marks,
)
from inkstream.http.durable.refusal import Refusal, Reply
from inkstream.http.durable.requests import AppendRequest

_TRIES = 100
_ROUND = 256


@dataclass(eq=False, slots=True)
class _Waiting:
    internal_id: int
    request: AppendRequest
    answer: asyncio.Future[Reply]
    tries: int = 0

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Appends:
    """The appends that this process is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[StreamId, list[_Waiting]] = {}

    async def append(self, stream: StreamState, request: AppendRequest) -> Reply:
        """Append to a stream, or close it; durable when it returns.

        Raises:
            Refusal: The protocol says no.
            StreamNotFound: It was deleted, or is another stream by now.
            StoreUnavailable: It did not happen; ``OutcomeUnknown``: it may have.
        """
        stream_id = stream.stream_id
        if request.body:
            # A large body takes a while to check: here it does so in its own turn of the loop.
            with contextlib.suppress(InvalidInput):
                request.body.segment(
                    is_json=not stream.counts_bytes,
                    message_bytes=self._engine.limits.message_bytes,
                )
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        entry = _Waiting(stream.internal_id, request, answer)
        waiting = self._waiting.get(stream_id)
        if waiting is None:
            self._waiting[stream_id] = [entry]
            self._engine.spawn(self._run(stream_id))
        else:
            waiting.append(entry)
        return await answer

    async def _run(self, stream_id: StreamId) -> None:
        waiting = self._waiting[stream_id]
        entries: list[_Waiting] = []
        try:
            while waiting:
                entries = waiting[:_ROUND]
                del waiting[:_ROUND]
                waiting[:0] = await self._round(stream_id, entries)
        finally:
            del self._waiting[stream_id]
            for entry in [*entries, *waiting]:
                entry.fail(StoreUnavailable("the process is shutting down"))

    async def _round(self, stream_id: StreamId, entries: list[_Waiting]) -> list[_Waiting]:
        """Answer the entries; return those that must be decided again."""
        names = {name for entry in entries for name in append_marks(entry.request)}
        try:
            page = await self._engine.page(stream_id, 0, 0, marks=sorted(names))
        except InkstreamError as exc:
            for entry in entries:
                entry.fail(exc)
            return []
        state, marks = page.state, dict(page.marks)
        now = self._engine.clock.wall()
        attempts: list[tuple[_Waiting, Attempt]] = []
        again: list[_Waiting] = []
        for entry in entries:
            if entry.answer.done():  # the client left
                continue
            if is_absent(state, now) or state.internal_id != entry.internal_id:
                entry.fail(StreamNotFound(stream_id))
                continue
            decided: Attempt | Reply | Refusal
            try:
                decided = append(state, marks, entry.request, now, self._engine.limits)
            except Refusal as exc:
                decided = exc
            if isinstance(decided, Attempt):
                attempts.append((entry, decided))
                marks.update(decided.change.marks)
                state = foreseen(state, decided.change)
            elif attempts:
                # It may rest on what is not committed yet ("a duplicate" of an append that fails).
                again.append(entry)
            elif isinstance(decided, Reply):
                entry.answer.set_result(decided)
            else:
                entry.fail(decided)
        outcomes = await asyncio.gather(
            *[self._commit(page.state, entry, attempt) for entry, attempt in attempts]
        )
        refused = [entry for entry in outcomes if entry is not None]
        return refused + again

    async def _commit(
        self, state: StreamState, entry: _Waiting, attempt: Attempt
    ) -> _Waiting | None:
        """Commit and answer; return the entry if it lost a race."""
        try:
            done = await self._engine.commit(state, attempt.change)
        except InkstreamError as exc:
            entry.fail(exc)
            return None
        if isinstance(done, StreamState):
            if not entry.answer.done():
                entry.answer.set_result(attempt.reply(done))
            return None
        return entry if self._may_try_again(entry, attempt, done) else None

    def _may_try_again(self, entry: _Waiting, attempt: Attempt, refused: Refused) -> bool:
        entry.tries += 1
        if refused.state is None:
            entry.fail(StreamNotFound(""))
        elif too_many_marks(attempt.change, refused.state):
            entry.fail(
                Refusal(429, "too_many_producers", "This stream has as many producers as it may.")
            )
        elif entry.tries >= _TRIES:
            entry.fail(StoreUnavailable("too many others write to this stream"))
        else:
            return True
        return False
