"""Decides about the appends of many clients to one stream together, and commits them together.

Requests for one stream wait while a round runs. A round reads the stream once, decides about each
request in the order of arrival, and joins the requests into few changes. Each decision already
includes the effect of the requests before it. If another process has changed the stream during the
round, the store may refuse a change. The next round then decides about the refused requests first.
If the first round has only one request, it does not read the stream, but uses the page that the
permission check read. If that page does not allow the append, the next round reads a new page,
because the page may be too old.

A round commits at most *one* change with marks, which joins the appends that use marks. If a round
committed several, each would require the epoch that the change before it sets, and the store could
refuse one of them. If another process then set the same epoch, the store would accept the following
change, although its marks are wrong.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

from inkstream._errors import InkstreamError, OutcomeUnknown, StoreUnavailable, StreamNotFound
from inkstream._types import Page, Refused, StreamId, StreamState, applied
from inkstream.durable.protocol import (
    Attempt,
    append,
    append_marks,
    is_absent,
    join,
    left_behind,
    too_many_marks,
)
from inkstream.durable.refusal import Refusal, Reply
from inkstream.durable.requests import AppendRequest
from inkstream.engine.engine import Engine
from inkstream.wire import SEGMENT_BYTES

_TRIES = 100
_ROUND = 256


@dataclass(eq=False, slots=True)
class _Waiting:
    page: Page
    request: AppendRequest
    answer: asyncio.Future[Reply]
    tries: int = 0
    alone: bool = False
    """Commit this request in a separate change, because a joined change had too many marks."""

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Appends:
    """The appends that one mount of this process received."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[StreamId, list[_Waiting]] = {}

    async def append(self, page: Page, request: AppendRequest) -> Reply:
        """Append to a stream, or close it. The change is durable when this method returns.

        ``page`` must have the marks that the request needs; see ``append_marks``.

        Raises:
            Refusal: The protocol does not allow the request.
            StreamNotFound: The stream has expired or was deleted, or another stream has its id now.
            StoreUnavailable: Nothing was stored.
            OutcomeUnknown: The change may have been stored.
        """
        stream_id = page.state.stream_id
        if request.body:
            await request.body.cut(
                is_json=not page.state.counts_bytes,
                message_bytes=self._engine.limits.message_bytes,
            )
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        entry = _Waiting(page, request, answer)
        waiting = self._waiting.get(stream_id)
        if waiting is None:
            self._waiting[stream_id] = [entry]
            self._engine.life.spawn(self._run(stream_id, page))
        else:
            waiting.append(entry)
        return await answer

    async def _run(self, stream_id: StreamId, page: Page | None) -> None:
        waiting = self._waiting[stream_id]
        entries: list[_Waiting] = []
        try:
            while waiting:
                entries = waiting[:_ROUND]
                del waiting[:_ROUND]
                waiting[:0] = await self._round(
                    stream_id, entries, page if len(entries) == 1 else None
                )
                page = None
        finally:
            del self._waiting[stream_id]
            for entry in entries:  # the round may have been stopped during its commit
                entry.fail(OutcomeUnknown("the process is shutting down"))
            for entry in waiting:
                entry.fail(StoreUnavailable("the process is shutting down"))

    async def _round(
        self, stream_id: StreamId, entries: list[_Waiting], page: Page | None
    ) -> list[_Waiting]:
        """Answer each entry, or return it, so that the next round decides about it."""
        is_fresh = page is None
        if page is None:
            names = {name for entry in entries for name in append_marks(entry.request)}
            try:
                page = await self._engine.readers.page(stream_id, 0, 0, marks=sorted(names))
            except InkstreamError as exc:
                for entry in entries:
                    entry.fail(exc)
                return []
        state, marks = page.state, dict(page.marks)
        clock = self._engine.clock
        now, believed = clock.wall(), clock.now()
        batches = _Batches()
        again: list[_Waiting] = []
        for entry in entries:
            if entry.answer.done():  # the client left
                continue
            if is_absent(state, believed) or state.internal_id != entry.page.state.internal_id:
                entry.fail(StreamNotFound(stream_id))
                continue
            decided: Attempt | Reply | Refusal
            try:
                decided = append(state, marks, entry.request, now, self._engine.limits)
            except Refusal as exc:
                decided = exc
            if isinstance(decided, Attempt):
                if batches.add(entry, decided):
                    if entry is not entries[-1]:
                        marks.update(decided.change.marks)
                        state = applied(state, decided.change)
                else:
                    again.append(entry)
            elif batches or not is_fresh:
                # Do not answer yet, because the answer may be wrong: an append of this round may
                # fail to commit, or the page may be too old. The next round decides again.
                again.append(entry)
            elif isinstance(decided, Reply):
                entry.answer.set_result(decided)
            else:
                entry.fail(decided)
        outcomes = await asyncio.gather(
            *[self._commit(page.state, batch) for batch in batches.in_order()]
        )
        return [entry for refused in outcomes for entry in refused] + again

    async def _commit(self, state: StreamState, batch: _Attempts) -> list[_Waiting]:
        """Commit a batch and answer its entries, or return the entries to decide again."""
        change = join([attempt for _, attempt in batch])
        try:
            done = await self._engine.changes.commit(state, change)
        except InkstreamError as exc:
            for entry, _ in batch:
                entry.fail(exc)
            return []
        if isinstance(done, StreamState):
            for (entry, attempt), left in zip(
                batch, left_behind(done, [attempt for _, attempt in batch]), strict=True
            ):
                if not entry.answer.done():
                    entry.answer.set_result(attempt.reply(left))
            return []
        is_full = done.state is not None and too_many_marks(change, done.state)
        return [
            entry
            for entry, _ in batch
            if self._may_try_again(entry, done, is_full=is_full, is_alone=len(batch) == 1)
        ]

    def _may_try_again(
        self, entry: _Waiting, refused: Refused, *, is_full: bool, is_alone: bool
    ) -> bool:
        entry.tries += 1
        if refused.state is None:
            entry.fail(StreamNotFound(""))
        elif is_full and is_alone:
            entry.fail(
                Refusal(
                    429,
                    "too_many_producers",
                    "This stream has the largest number of producers allowed.",
                )
            )
        elif entry.tries >= _TRIES:
            entry.fail(StoreUnavailable("other clients write to this stream too often: try again"))
        else:
            entry.alone = is_full
            return True
        return False


_Attempts: TypeAlias = list[tuple[_Waiting, Attempt]]


class _Batches:
    """The changes of a round: at most one change with marks, and changes without marks.

    Appends are joined only up to the size of one segment.
    """

    def __init__(self) -> None:
        self._marked: _Attempts = []
        self._plain: list[_Attempts] = []
        self._closes_marked = False

    def __bool__(self) -> bool:
        return bool(self._marked or self._plain)

    def add(self, entry: _Waiting, attempt: Attempt) -> bool:
        """Add an attempt. Return False if the attempt must wait for the next round."""
        if not attempt.change.marks:
            if not self._plain or not _fits(self._plain[-1], attempt):
                self._plain.append([])
            self._plain[-1].append((entry, attempt))
            return True
        if self._marked and (
            entry.alone or self._marked[0][0].alone or not _fits(self._marked, attempt)
        ):
            return False
        self._marked.append((entry, attempt))
        self._closes_marked = attempt.change.end is not None
        return True

    def in_order(self) -> list[_Attempts]:
        """Return the changes. A change that closes the stream is last."""
        marked = [self._marked] if self._marked else []
        return [*self._plain, *marked] if self._closes_marked else [*marked, *self._plain]


def _fits(batch: _Attempts, attempt: Attempt) -> bool:
    size = sum(a.size for _, a in batch)
    return size + attempt.size <= SEGMENT_BYTES
