"""A worker's description of itself: its health, and the streams that it writes and serves.

Each beat stores the description in the worker's row. So after a fault, another process can still
read what this worker was doing. The description never holds an answer's text. It names at most
``STREAMS`` streams. The streams that this worker writes come first. Of these, the streams that have
been silent longest come first, because operators ask about silent streams.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from inkstream._types import JSON
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.identity import host_and_pid
from inkstream.engine.tail import Follower, Tail

STREAMS: Final = 256
_MINUTE_S: Final = 60.0
_SAMPLE_S: Final = 10.0
BLOCKED_S: Final = 1.0
"""An event loop counts as blocked after this long without a tick."""
REMEDY: Final = (
    "Call synchronous code in a thread: make the source a plain generator ('def', not 'async "
    "def'), or use asyncio.to_thread, or use the asynchronous client of the SDK"
)
"""The advice of a log record about a blocked event loop."""


@dataclass(slots=True)
class _Course:
    """The progress of one stream in the last minute."""

    samples: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=7))
    position: int = -1
    moved_at: float = 0.0


class Condition:
    """Observe this worker's streams, readers and event loop, and describe them."""

    def __init__(self, core: Core, tails: Iterable[Tail], committer: Committer) -> None:
        clock, timing = core.clock, core.timing
        self.worker = core.worker
        host, pid = host_and_pid(core.worker)
        self._self: dict[str, JSON] = {
            "host": host,
            "pid": pid,
            "started_at": clock.wall(),
            "beat_s": timing.beat_s,
            "lease_s": timing.lease_s,
        }
        self._tails = tails
        self._clock = clock
        self._compose_s = timing.beat_s * 0.9
        self._committer = committer
        self._thread = threading.get_ident()
        self._seen_at = clock.monotonic()
        self._lag_s = 0.0
        self._lag_at = -1e9
        self._stuck_at: str | None = None
        self._away_s = 0.0
        self._away_at = -1e9
        self._composed_at = -1e9
        self._courses: dict[int, _Course] = {}
        self._behind: dict[Follower, tuple[int, float]] = {}
        self._words: dict[str, JSON] = dict(self._self)

    def begin(self) -> None:
        """Remember the current thread as the event loop's thread. Call this on the event loop."""
        self._thread = threading.get_ident()
        self.seen_turning()

    def seen_turning(self) -> None:
        """Make ``stalled_s`` count from this moment, as a tick does. Any thread may call this."""
        self._seen_at = self._clock.monotonic()

    def tick(self, now: float, due: float) -> None:
        """Observe the worker at a tick that was due at ``due`` and came at ``now``."""
        self._seen_at = now
        if now - due >= self._lag_s or now - self._lag_at >= _MINUTE_S:
            self._lag_s, self._lag_at = now - due, now
        away = self._committer.away_since
        if away is not None:
            self._away_s, self._away_at = now - away, now
        if now - self._composed_at >= self._compose_s:
            self._composed_at = now
            self._words = self._compose(now)

    def stalled_s(self) -> float:
        """Return the seconds since the last tick. Any thread may call this."""
        return self._clock.monotonic() - self._seen_at

    def now(self) -> dict[str, Any]:
        """Compose and return this worker's description now. Call this on the event loop."""
        words: dict[str, Any] = json.loads(json.dumps(self._compose(self._clock.monotonic())))
        return words

    def said(self) -> str:
        """Return this worker's latest description as JSON. Any thread may call this.

        If the event loop is blocked, the description says for how long and where.
        """
        words = self._words
        stalled = self.stalled_s()
        if stalled > BLOCKED_S:
            self._stuck_at = self._place() or self._stuck_at
            words = {**words, "blocked_s": round(stalled, 1), "blocked_at": self._stuck_at}
        return json.dumps(words, separators=(",", ":"))

    def stack(self, frames: int) -> list[traceback.FrameSummary]:
        """Return the innermost frames of the event loop's thread. Call this from another thread."""
        frame = sys._current_frames().get(self._thread)
        return [] if frame is None else traceback.extract_stack(frame)[-frames:]

    def _place(self) -> str | None:
        """Return which line the event loop's thread runs, or ``None`` if called on that thread."""
        frame = sys._current_frames().get(self._thread)
        if frame is None or self._thread == threading.get_ident():
            return None
        code = frame.f_code
        return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"

    def _compose(self, now: float) -> dict[str, JSON]:
        tails = list(self._tails)
        self._courses = {tail.internal_id: self._course(tail, now) for tail in tails if tail.local}
        behind = self._look_at_readers(tails, now)
        # A past outage stays in the description for a minute, because an operator often looks only
        # after the outage has ended.
        away_s = self._away_s if now - self._away_at < _MINUTE_S else 0.0
        if self._lag_s <= BLOCKED_S:
            self._stuck_at = None
        tails.sort(key=self._moved_at)
        return {
            **self._self,
            "lag_s": round(self._lag_s, 3),
            "blocked_at": self._stuck_at,
            "store_away_s": round(away_s, 1),
            "writes": sum(tail.local for tail in tails),
            "readers": sum(len(tail.readers) for tail in tails),
            "streams": {
                str(tail.internal_id): self._stream(tail, behind.get(tail, ()), now)
                for tail in tails[:STREAMS]
            },
            "unlisted": max(0, len(tails) - STREAMS),
        }

    def _moved_at(self, tail: Tail) -> float:
        course = self._courses.get(tail.internal_id)
        return float("inf") if course is None else course.moved_at

    def _course(self, tail: Tail, now: float) -> _Course:
        course = self._courses.get(tail.internal_id) or _Course()
        if course.position != tail.position:
            course.position, course.moved_at = tail.position, now
        if not course.samples or now - course.samples[-1][0] >= _SAMPLE_S:
            course.samples.append((now, tail.position, tail.published_bytes))
        return course

    def _look_at_readers(
        self, tails: Iterable[Tail], now: float
    ) -> dict[Tail, list[tuple[int, float]]]:
        """Return by how many messages, and for how many seconds, readers are behind each tail.

        The result has only readers that did not move since the last call, because a healthy reader
        that is behind moves at once.
        """
        behind: dict[Follower, tuple[int, float]] = {}
        found: dict[Tail, list[tuple[int, float]]] = {}
        for tail in tails:
            for reader in tail.readers:
                if reader.position >= tail.position:
                    continue
                position, since = self._behind.get(reader, (-1, now))
                if position != reader.position:
                    since = now
                behind[reader] = reader.position, since
                if now > since:
                    found.setdefault(tail, []).append(
                        (tail.position - reader.position, now - since)
                    )
        self._behind = behind
        return found

    def _stream(self, tail: Tail, behind: Iterable[tuple[int, float]], now: float) -> JSON:
        stood = list(behind)
        words: dict[str, JSON] = {"readers": len(tail.readers)}
        if stood:
            words["behind"] = len(stood)
            words["behind_s"] = round(max(seconds for _, seconds in stood), 1)
        writer, course = tail.writer, self._courses.get(tail.internal_id)
        if writer is None or course is None:
            return words
        if writer.pending_bytes:
            words["buffered"] = writer.pending_bytes
        began, position, size = next(
            s for s in course.samples if now - s[0] <= _MINUTE_S + _SAMPLE_S
        )
        if now - began >= 1.0:
            words["messages_s"] = round((tail.position - position) / (now - began), 2)
            words["bytes_s"] = round((tail.published_bytes - size) / (now - began), 1)
        return words
