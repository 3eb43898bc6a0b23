"""A thread that beats in place of a blocked event loop (G7).

An application's code may block the event loop of a healthy process, for example with ``time.sleep``
in a handler or with a synchronous driver. The loop then sends no beats, so without the thread,
other processes would end all streams of this process. The thread sends the beats while the loop is
blocked, but for at most ``stall_s``. After this time, the thread releases the worker's lock, so
that other processes end the worker's streams.

===========================================  =========  ========  ================================
the writer's process                         counter    lock      other processes
===========================================  =========  ========  ================================
blocks its loop for less than ``stall_s``    grows      held      do nothing
blocks its loop for longer                   unchanged  released  end its streams within 2 s
is stopped, holds the interpreter's lock,    unchanged  held      end its streams after ``lease_s``
or is cut off from the database
is dead                                      unchanged  free      end its streams within 2 s
===========================================  =========  ========  ================================

A process that cannot see the lock ends the streams only after the counter has stayed unchanged for
``lease_s``. If a stream may be taken over, other processes do not end it, but keep it for a
take-over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from typing import Final

from inkstream._errors import StoreUnavailable
from inkstream._events import LogEvent, facts
from inkstream.engine.condition import BLOCKED_S, REMEDY, Condition
from inkstream.engine.core import Core
from inkstream.engine.generation import SOURCE_TASK
from inkstream.engine.presence import Presence

_log = logging.getLogger("inkstream")

_LOOK_S: Final = 0.5
_FRAMES: Final = 6


class Keeper:
    """Watch one event loop from a thread, and beat while the loop is blocked.

    In a test with virtual time, where a loop is never blocked, the keeper does nothing.
    """

    def __init__(self, core: Core, condition: Condition, presence: Presence) -> None:
        self._store = core.store
        self._life = core.life
        self._timing = core.timing
        self._watches = core.clock.monotonic is time.monotonic
        self._condition = condition
        self._presence = presence
        self._beat_at = 0.0
        self._blocked = False
        self._gone = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="inkstream-keeper", daemon=True)

    def begin(self) -> None:
        """Begin to watch the event loop."""
        if self._watches:
            self._thread.start()

    async def end(self) -> None:
        """Stop watching the event loop. Wait for a running beat."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        looked = time.monotonic()
        while not self._stop.wait(_LOOK_S):
            loop = self._life.loop
            if loop is None or loop.is_closed():
                return  # tests may close a loop while this thread still watches it
            before, looked = looked, time.monotonic()
            if looked - before > 2 * _LOOK_S:
                # This thread did not run for a while, for example because the process was stopped
                # or the machine slept. So give the loop time to run before it counts as blocked.
                self._condition.seen_turning()
            stalled = self._condition.stalled_s()
            if stalled <= BLOCKED_S:
                self._blocked = self._gone = False
                continue
            if not self._blocked:
                self._blocked = True
                self._say(stalled)
            if self._presence.is_busy and not self._gone:
                self._stand_in(stalled)

    def _stand_in(self, stalled: float) -> None:
        now = time.monotonic()
        lets_go = stalled >= self._timing.stall_s
        if not lets_go and now - self._beat_at < self._timing.beat_s:
            return
        self._beat_at = now
        try:
            self._store.beat_from_thread(None if lets_go else self._condition.said())
        except StoreUnavailable as exc:
            _log.warning("no beat while the event loop is blocked: %s", exc)
            return
        except Exception:
            _log.exception("no beat while the event loop is blocked")
            return
        if lets_go:
            self._gone = True
            _log.error(
                "the event loop has been blocked for %.0f s: its streams are let go",
                stalled,
                extra=facts(LogEvent.STREAMS_LET_GO, seconds=stalled),
            )

    def _say(self, stalled: float) -> None:
        """Log the stack of the event loop while it is blocked: later, the stack is lost."""
        stack = self._condition.stack(_FRAMES)
        task = self._task_name()
        _log.warning(
            "the event loop has been blocked for %.1f s%s; other streams of this process wait. "
            "%s:\n%s",
            stalled,
            f" by {task}" if task else "",
            REMEDY,
            "".join(traceback.format_list(stack)).rstrip(),
            extra=facts(LogEvent.LOOP_BLOCKED, seconds=stalled, task=task),
        )

    def _task_name(self) -> str | None:
        """Return words for the task that the event loop runs now; ``None`` if it runs no task."""
        loop = self._life.loop
        try:
            task = None if loop is None else asyncio.current_task(loop)
        except RuntimeError:
            return None
        name = "" if task is None else task.get_name()
        stream = name.removeprefix(SOURCE_TASK)
        return f"the source of stream {stream!r}" if stream != name else name or None
